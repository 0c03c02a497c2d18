-- Products that were rejected as repeated are pending again when no other product with their content is in use.
DELETE FROM rejection WHERE entity = 'product' AND stage = 'tiles' AND reason = 'repeated' AND entity_id NOT IN (
    SELECT p.uri FROM product p JOIN product q ON q.sha256 = p.sha256 AND q.uri <> p.uri AND q.superseded_at IS NULL
    WHERE q.uri NOT IN (SELECT entity_id FROM rejection WHERE entity = 'product' AND stage = 'tiles' AND reason = 'repeated'));
