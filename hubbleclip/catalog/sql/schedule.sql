-- Slots spread work that is repeated after a number of days. The time of each name, such as a proposal, is divided into consecutive
-- slots of this length. They begin on other days for other names, so that not all work falls due in the same night, and at midnight
-- (UTC) if the number of days is whole. Work is due when the slot in which it was last done is over. The result is the number of the
-- slot, or null if the work is never repeated (days = 0).
CREATE OR REPLACE MACRO slot_of(name, time, days) AS
  floor((epoch(time) / 86400 - ('0x' || md5(name)[:7])::BIGINT % greatest(floor(days), 1)) / nullif(days, 0));
COMMENT ON MACRO slot_of IS 'Number of the slot of a name to which a time belongs, for work that is repeated after a number of days';
