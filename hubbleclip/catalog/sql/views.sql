-- Views for users' queries. A migration defines them again whenever the text of this file changes.
-- `HAVING num > 0` removes no row. It lowers DuckDB's estimate of the number of rows, so that a join builds its hash table from the
-- counts and not from the wider rows that the counts are joined to.

CREATE OR REPLACE VIEW coverage AS
WITH cut AS (SELECT obs_id, count(*) AS num FROM tile GROUP BY obs_id HAVING num > 0),
seen AS (SELECT proposal_id, instrument, filters, count(*) AS num_observations, sum(cut.num) AS num_tiles
         FROM observation LEFT JOIN cut USING (obs_id) GROUP BY ALL)
SELECT cycle, instrument, filters, count(*) AS num_proposals, sum(num_observations)::BIGINT AS num_observations,
       coalesce(sum(num_tiles), 0)::BIGINT AS num_tiles
FROM seen LEFT JOIN proposal USING (proposal_id)
GROUP BY ALL ORDER BY ALL;
COMMENT ON VIEW coverage IS 'Proposals, observations and tiles by cycle, instrument and filter';

CREATE OR REPLACE VIEW sample_caption AS
SELECT tile_id, split, proposal_id, title, category, target_name, instrument, filter, ra_deg, dec_deg,
       unnest(caption_kinds) AS kind, unnest(captions) AS caption
FROM sample;
COMMENT ON VIEW sample_caption IS 'One row per sample and caption, with its position on the sky';

CREATE OR REPLACE VIEW proposal_without_tile AS
WITH bare AS (SELECT proposal_id, title FROM proposal ANTI JOIN tile USING (proposal_id)),
seen AS (SELECT proposal_id, count(*) AS num FROM observation SEMI JOIN bare USING (proposal_id) GROUP BY proposal_id),
chosen AS (SELECT proposal_id, count(*) AS num, count(sha256) AS num_fetched
           FROM product SEMI JOIN bare USING (proposal_id) WHERE superseded_at IS NULL GROUP BY proposal_id),
failed AS (SELECT entity, entity_id, stage || ': ' || reason AS why FROM rejection
           UNION ALL SELECT entity, entity_id, stage || ': ' || error || ', to be tried again' FROM attempt),
told AS (SELECT entity_id AS proposal_id, why FROM failed WHERE entity = 'proposal'
         UNION ALL SELECT proposal_id, why FROM failed JOIN observation ON obs_id = entity_id WHERE entity = 'observation'
         UNION ALL SELECT proposal_id, why FROM failed JOIN product ON uri = entity_id WHERE entity = 'product'),
reason AS (SELECT proposal_id, list(DISTINCT why ORDER BY why) AS reasons FROM told GROUP BY proposal_id)
SELECT proposal_id, title, coalesce(seen.num, 0) AS num_observations, coalesce(chosen.num, 0) AS num_products,
       coalesce(num_fetched, 0) AS num_fetched,
       coalesce(reasons, [CASE WHEN seen.num IS NULL THEN 'no observation' WHEN chosen.num IS NULL THEN 'no product chosen'
                          WHEN num_fetched = 0 THEN 'not fetched yet' ELSE 'not cut yet' END]) AS reasons
FROM bare LEFT JOIN seen USING (proposal_id) LEFT JOIN chosen USING (proposal_id) LEFT JOIN reason USING (proposal_id)
ORDER BY proposal_id;
COMMENT ON VIEW proposal_without_tile IS 'Proposals without a tile, and why';

CREATE OR REPLACE VIEW rejection_count AS
SELECT stage, reason, count(*) AS num FROM rejection GROUP BY ALL ORDER BY ALL;
COMMENT ON VIEW rejection_count IS 'Rejected items, by stage and reason';

CREATE OR REPLACE VIEW split_count AS
SELECT split, reason, count(*) AS num_tiles, count(DISTINCT group_id) AS num_groups FROM split GROUP BY ALL ORDER BY ALL;
COMMENT ON VIEW split_count IS 'Tiles and proposal groups by split, with the reason of exclusion';

CREATE OR REPLACE VIEW run_metric AS
SELECT r.run_id, r.model AS architecture, r.loss, r.steps, m.protocol, m.split, m.model, m.name, m.value, m.low, m.high
FROM run r JOIN metric m USING (run_id) ORDER BY ALL;
COMMENT ON VIEW run_metric IS 'Metrics of every run with their 95 % intervals';

CREATE OR REPLACE VIEW waiting_item AS
SELECT entity, entity_id, stage, attempts, error, detail, first_at, last_at, next_try_at FROM attempt ORDER BY next_try_at;
COMMENT ON VIEW waiting_item IS 'Failed items, with the last error and the time (UTC) of the next attempt';

CREATE OR REPLACE VIEW product_history AS
WITH cut AS (SELECT product_sha256 AS sha256, count(*) AS num FROM tile GROUP BY ALL HAVING num > 0)
SELECT v.uri, v.version, v.sha256, v.archive_version, v.size_bytes, v.source, v.fetched_at,
       p.version = v.version AND p.superseded_at IS NULL AS is_current, coalesce(cut.num, 0) AS num_tiles
FROM product_version v LEFT JOIN product p USING (uri) LEFT JOIN cut ON cut.sha256 = v.sha256
ORDER BY v.uri, v.version;
COMMENT ON VIEW product_history IS 'All contents of each product over time, and the number of tiles cut from each';

CREATE OR REPLACE VIEW storage AS
SELECT 'products' AS stage, count(*) AS num_files, sum(size_bytes)::BIGINT AS size_bytes, count(*) - count(size_bytes) AS num_of_unknown_size
FROM (SELECT path, any_value(size_bytes) AS size_bytes FROM product WHERE path IS NOT NULL GROUP BY path)
UNION ALL
SELECT 'tiles', count(*), sum(size_bytes)::BIGINT, count(*) - count(size_bytes) FROM tile
UNION ALL
SELECT 'shards', count(*), sum(size_bytes)::BIGINT, 0 FROM shard
WHERE home_digest IS NULL OR home_digest = dataset_digest;
COMMENT ON VIEW storage IS 'Files and bytes by stage, each file counted once';

CREATE OR REPLACE VIEW dataset_history AS
WITH RECURSIVE line AS (
  SELECT digest, 1 AS generation FROM dataset WHERE parent_digest IS NULL
  UNION ALL SELECT d.digest, line.generation + 1 FROM dataset d JOIN line ON d.parent_digest = line.digest
), trained AS (SELECT dataset_digest AS digest, list(run_id ORDER BY run_id) AS run_ids FROM run GROUP BY dataset_digest)
SELECT d.digest, d.parent_digest, line.generation, d.num_samples, coalesce(d.num_new_samples, d.num_samples) AS num_new_samples,
       d.num_shards, d.contract_version, d.path, d.built_at, coalesce(run_ids, []) AS run_ids
FROM dataset d LEFT JOIN line USING (digest) LEFT JOIN trained USING (digest) ORDER BY d.built_at, d.digest;
COMMENT ON VIEW dataset_history IS 'Datasets with their parents and the runs that trained on them';
