-- Tiles cut under these settings from what the products hold now.
SELECT t.* FROM tile t JOIN product p ON p.uri = t.product_uri AND p.sha256 = t.product_sha256 AND p.superseded_at IS NULL
WHERE t.settings_digest = $settings_digest
ORDER BY t.tile_id
