-- Remove what was made from the products $uris and the proposals $proposal_ids. The rows of the observations and products stay,
-- because the archive lists them; rejections prevent them from being fetched again.
-- Rows of tiles in a dataset stay, because datasets are not changed; these tiles are no longer current.
DELETE FROM sample WHERE list_contains($tile_ids, tile_id) AND tile_id NOT IN (SELECT tile_id FROM placement);
DELETE FROM split WHERE list_contains($tile_ids, tile_id) AND tile_id NOT IN (SELECT tile_id FROM placement);
DELETE FROM tile WHERE list_contains($tile_ids, tile_id) AND tile_id NOT IN (SELECT tile_id FROM placement);
DELETE FROM product_version WHERE list_contains($uris, uri);
UPDATE product SET sha256 = NULL, path = NULL, etag = NULL, source = NULL, version = NULL, fetched_at = NULL, fetched_version = NULL
WHERE list_contains($uris, uri);
DELETE FROM attempt WHERE list_contains($uris, entity_id) OR list_contains($proposal_ids, entity_id);
DELETE FROM rejection
WHERE (list_contains($uris, entity_id) OR list_contains($proposal_ids, entity_id)) AND reason <> 'dropped';
DELETE FROM abstract_summary WHERE abstract_sha256 IN (
    SELECT sha256(abstract) FROM proposal GROUP BY abstract HAVING bool_and(list_contains($proposal_ids, proposal_id)));
DELETE FROM abstract_word WHERE list_contains($proposal_ids, proposal_id);
DELETE FROM abstract_length WHERE list_contains($proposal_ids, proposal_id);
DELETE FROM proposal WHERE list_contains($proposal_ids, proposal_id) AND proposal_id NOT IN (SELECT proposal_id FROM sample);
UPDATE proposal SET title = '(dropped)', abstract = NULL WHERE list_contains($proposal_ids, proposal_id);
