-- Chosen products that are not on disk. With $again, also those that failed in an earlier run.
SELECT p.* FROM product p
WHERE p.sha256 IS NULL
  AND ($again OR NOT EXISTS (SELECT 1 FROM rejection r WHERE r.entity = 'product' AND r.stage = 'fetch' AND r.entity_id = p.uri))
ORDER BY p.proposal_id, p.uri
