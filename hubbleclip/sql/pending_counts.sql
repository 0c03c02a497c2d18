-- Items that each stage has still to do.
WITH tiles AS (
    SELECT t.tile_id FROM tile t JOIN product p ON p.uri = t.product_uri AND p.sha256 = t.product_sha256 AND p.superseded_at IS NULL
    WHERE t.settings_digest = $tile_settings
), newest AS (SELECT digest FROM dataset ORDER BY built_at DESC, digest LIMIT 1)
SELECT 'split' AS stage, count(*) AS num FROM tiles ANTI JOIN split USING (tile_id)
UNION ALL
SELECT 'shards', count(*) FROM tiles JOIN split s USING (tile_id)
WHERE s.split <> 'excluded'
  AND NOT EXISTS (SELECT 1 FROM placement l JOIN newest n ON n.digest = l.dataset_digest WHERE l.tile_id = tiles.tile_id)
  AND NOT EXISTS (SELECT 1 FROM rejection r WHERE r.stage = 'shards' AND r.entity_id = tiles.tile_id)
