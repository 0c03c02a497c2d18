-- Products on disk that were neither cut nor rejected under these tile settings. Products with the same content are adjacent,
-- because their common file may be deleted after it is cut.
WITH cut AS (SELECT DISTINCT product_uri AS uri, product_sha256 AS sha256 FROM tile WHERE settings_digest = $settings_digest)
SELECT p.uri FROM product p ANTI JOIN cut USING (uri, sha256)
WHERE p.path IS NOT NULL AND p.superseded_at IS NULL
  AND NOT EXISTS (SELECT 1 FROM rejection r WHERE r.entity = 'product' AND r.stage = 'tiles' AND r.entity_id = p.uri
                  AND r.settings_digest = $settings_digest)
ORDER BY p.sha256, p.proposal_id, p.uri
