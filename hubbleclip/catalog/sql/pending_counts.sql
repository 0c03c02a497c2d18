-- Number of pending items of the stages `split` and `shards`.
WITH tiles AS (
    SELECT t.tile_id FROM tile t JOIN product p ON p.uri = t.product_uri AND p.sha256 = t.product_sha256 AND p.superseded_at IS NULL
    WHERE t.settings_digest = $tile_settings
), newest AS (SELECT digest FROM dataset ORDER BY built_at DESC, digest LIMIT 1),
placed AS (SELECT tile_id FROM placement SEMI JOIN newest ON digest = dataset_digest),
refused AS (SELECT entity_id AS tile_id FROM rejection WHERE stage = 'shards'),
assigned AS (SELECT tile_id, split FROM tiles LEFT JOIN split USING (tile_id))
SELECT 'split' AS stage, count(*) AS num FROM assigned WHERE split IS NULL
UNION ALL
SELECT 'shards', count(*) FROM assigned ANTI JOIN placed USING (tile_id) ANTI JOIN refused USING (tile_id) WHERE split <> 'excluded'
