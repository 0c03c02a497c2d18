-- The indexed tiles with what searches filter and group by, in the order of the index's rows; `indexed` holds the tile ids.
-- Made in a database in memory beside the read-only snapshot, which is attached as `catalog`.
CREATE TABLE tile_fact AS
SELECT i.row, t.tile_id, t.proposal_id, t.obs_id, t.product_uri, t.view, t.ra_deg, t.dec_deg, t.pixel_scale_arcsec, t.size_px,
  coalesce(t.instrument, o.instrument) AS instrument, split_part(coalesce(t.instrument, o.instrument), '/', 2) AS detector,
  coalesce(t.filter, o.filters) AS filter, o.exposure_s, coalesce(o.is_moving, false) AS is_moving, o.target_name, o.target_class,
  to_timestamp((o.start_mjd - 40587) * 86400) AT TIME ZONE 'UTC' AS observed_at,  -- MJD 40587 is 1970-01-01
  s.split, p.title, p.pi, p.cycle, p.category, dense_rank() OVER (ORDER BY t.proposal_id) - 1 AS proposal_group
FROM indexed i JOIN catalog.tile t USING (tile_id)
LEFT JOIN catalog.observation o USING (obs_id)
LEFT JOIN catalog.proposal p ON p.proposal_id = t.proposal_id
LEFT JOIN catalog.split s ON s.tile_id = t.tile_id
ORDER BY i.row;
CREATE UNIQUE INDEX tile_row ON tile_fact ("row");
-- Targets as the documents of a word index of their own: the same tables as those of abstracts, so that the same scripts fill and
-- search them. The text of a target is its name and its keywords.
CREATE TABLE proposal (proposal_id VARCHAR, title VARCHAR, abstract VARCHAR, "cycle" BIGINT, pi VARCHAR);
INSERT INTO proposal (proposal_id, title)
SELECT DISTINCT text, text FROM (SELECT concat_ws(' ', target_name, target_class) AS text FROM tile_fact) WHERE text <> '';
CREATE TABLE abstract_word (word VARCHAR NOT NULL, proposal_id VARCHAR NOT NULL, num BIGINT NOT NULL);
CREATE TABLE abstract_length (proposal_id VARCHAR NOT NULL, num_words BIGINT NOT NULL);
CREATE TABLE abstract_summary (abstract_sha256 VARCHAR, writer VARCHAR, summary VARCHAR, search_phrases VARCHAR[], answered_at TIMESTAMP);
-- Numbers by which rows get the score of their proposal and of their target; those of targets follow those of proposals.
CREATE TABLE proposal_number AS SELECT DISTINCT proposal_id, proposal_group AS number FROM tile_fact;
CREATE TABLE target_number AS
SELECT proposal_id, (SELECT count(*) FROM proposal_number) + row_number() OVER (ORDER BY proposal_id) - 1 AS number FROM proposal;
