-- Tiles cut under these settings from the current content of their products. 
-- A colour tile is current if it was cut from the current contents of all its products.
SELECT t.* FROM tile t JOIN product p ON p.uri = t.product_uri AND p.sha256 = t.product_sha256 AND p.superseded_at IS NULL
WHERE t.settings_digest = $settings_digest
  AND t.tile_id NOT IN (
    SELECT part.tile_id FROM (SELECT tile_id, cut_at, unnest(part_uris) AS uri FROM tile) part
    JOIN product q USING (uri) WHERE q.sha256 IS NULL OR q.superseded_at IS NOT NULL OR q.fetched_at > part.cut_at)
ORDER BY t.tile_id
