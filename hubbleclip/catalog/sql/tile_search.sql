-- Tables that a search by words needs besides `tile_fact`. They are in a database in memory, to which the read-only snapshot is attached
-- as `catalog`.
CREATE UNIQUE INDEX tile_row ON tile_fact ("row");
-- A second word index, whose documents are targets. Its tables are named like the tables for proposals, so that the same scripts fill and
-- search them. The text of a target is its name and its keywords.
CREATE TABLE proposal (proposal_id VARCHAR, title VARCHAR, abstract VARCHAR, "cycle" BIGINT, pi VARCHAR);
INSERT INTO proposal (proposal_id, title)
SELECT DISTINCT text, text FROM (SELECT concat_ws(' ', target_name, target_class) AS text FROM tile_fact) WHERE text <> '';
CREATE TABLE abstract_word (word VARCHAR NOT NULL, proposal_id VARCHAR NOT NULL, num BIGINT NOT NULL);
CREATE TABLE abstract_length (proposal_id VARCHAR NOT NULL, num_words BIGINT NOT NULL);
CREATE TABLE abstract_summary (abstract_sha256 VARCHAR, writer VARCHAR, summary VARCHAR, search_phrases VARCHAR[], answered_at TIMESTAMP);
-- Numbers of the documents. A row gets the scores of its proposal and of its target; the numbers of targets follow the numbers of proposals.
CREATE TABLE proposal_number AS SELECT DISTINCT proposal_id, proposal_group AS number FROM tile_fact;
CREATE TABLE target_number AS
SELECT proposal_id, (SELECT count(*) FROM proposal_number) + row_number() OVER (ORDER BY proposal_id) - 1 AS number FROM proposal;
