-- Products on disk that were neither cut nor rejected under these tile settings. Products with the same content are adjacent,
-- because their common file may be deleted after it is cut.
SELECT p.uri FROM product p
WHERE p.path IS NOT NULL AND p.superseded_at IS NULL
  AND NOT EXISTS (SELECT 1 FROM tile t WHERE t.product_uri = p.uri AND t.product_sha256 = p.sha256
                  AND t.settings_digest = $settings_digest)
  AND NOT EXISTS (SELECT 1 FROM rejection r WHERE r.entity = 'product' AND r.stage = 'tiles' AND r.entity_id = p.uri
                  AND r.settings_digest = $settings_digest)
ORDER BY p.sha256, p.proposal_id, p.uri
