-- Delete the tiles $tile_ids and the other tiles of their products, so that these products are cut again. The same tiles get the same
-- ids, so that their splits stay.
DELETE FROM tile WHERE (product_uri, settings_digest) IN (
    SELECT (product_uri, settings_digest) FROM tile WHERE list_contains($tile_ids, tile_id));
