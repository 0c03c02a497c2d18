-- Questions that people ask of the catalog, as views. Set anew at every migration.

CREATE OR REPLACE VIEW coverage AS
SELECT p.cycle, o.instrument, o.filters, count(DISTINCT o.proposal_id) AS num_proposals,
       count(DISTINCT o.obs_id) AS num_observations, count(t.tile_id) AS num_tiles
FROM observation o LEFT JOIN proposal p USING (proposal_id) LEFT JOIN tile t USING (obs_id)
GROUP BY ALL ORDER BY ALL;
COMMENT ON VIEW coverage IS 'Proposals, observations and tiles by cycle, instrument and filter';

CREATE OR REPLACE VIEW sample_caption AS
SELECT tile_id, split, proposal_id, title, category, target_name, instrument, filter, ra_deg, dec_deg,
       unnest(caption_kinds) AS kind, unnest(captions) AS caption
FROM sample;
COMMENT ON VIEW sample_caption IS 'One row a sample and caption, with its position on the sky';

CREATE OR REPLACE VIEW proposal_without_tile AS
SELECT p.proposal_id, p.title, count(DISTINCT o.obs_id) AS num_observations,
       list(DISTINCT r.stage || ': ' || r.reason) FILTER (r.reason IS NOT NULL) AS reasons
FROM proposal p LEFT JOIN observation o USING (proposal_id) LEFT JOIN product f USING (obs_id)
LEFT JOIN rejection r ON r.entity_id IN (p.proposal_id, o.obs_id, f.uri)
WHERE NOT EXISTS (SELECT 1 FROM tile t WHERE t.proposal_id = p.proposal_id)
GROUP BY ALL ORDER BY ALL;
COMMENT ON VIEW proposal_without_tile IS 'Proposals that gave no tile, and why';

CREATE OR REPLACE VIEW rejection_count AS
SELECT stage, reason, count(*) AS num FROM rejection GROUP BY ALL ORDER BY ALL;
COMMENT ON VIEW rejection_count IS 'Items left out, by stage and reason';

CREATE OR REPLACE VIEW split_count AS
SELECT split, reason, count(*) AS num_tiles, count(DISTINCT group_id) AS num_groups FROM split GROUP BY ALL ORDER BY ALL;
COMMENT ON VIEW split_count IS 'Tiles and proposal groups by split, with the reason of exclusion';

CREATE OR REPLACE VIEW run_metric AS
SELECT r.run_id, r.model AS architecture, r.loss, r.steps, m.protocol, m.split, m.model, m.name, m.value, m.low, m.high
FROM run r JOIN metric m USING (run_id) ORDER BY ALL;
COMMENT ON VIEW run_metric IS 'Figures of every run with their 95 % intervals';

CREATE OR REPLACE VIEW waiting_item AS
SELECT entity, entity_id, stage, attempts, error, detail, first_at, last_at, next_try_at FROM attempt ORDER BY next_try_at;
COMMENT ON VIEW waiting_item IS 'Items that failed, with the last error and the time (UTC) from which they are tried again';

CREATE OR REPLACE VIEW product_history AS
SELECT v.uri, v.version, v.sha256, v.archive_version, v.size_bytes, v.source, v.fetched_at,
       p.version = v.version AND p.superseded_at IS NULL AS is_current,
       (SELECT count(*) FROM tile t WHERE t.product_uri = v.uri AND t.product_sha256 = v.sha256) AS num_tiles
FROM product_version v LEFT JOIN product p USING (uri) ORDER BY v.uri, v.version;
COMMENT ON VIEW product_history IS 'Every content that a product has had, and how many tiles were cut from it';
