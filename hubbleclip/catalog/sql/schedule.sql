-- Work that is repeated every $days days has a slot of its own for each name, so that all of it never falls due in the same night.
-- Slots of a name follow each other without a gap. They begin at midnight (UTC) if the number of days is whole. Work is due when its
-- last slot is over. The result is the number of the slot, and null if the work is never repeated (days = 0).
CREATE OR REPLACE MACRO slot_of(name, time, days) AS
  floor((epoch(time) / 86400 - ('0x' || md5(name)[:7])::BIGINT % greatest(floor(days), 1)) / nullif(days, 0));
COMMENT ON MACRO slot_of IS 'Number of the slot of a name to which a time belongs, for work that is repeated after a number of days';
