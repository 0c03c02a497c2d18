-- Products on disk that were neither cut nor rejected under these tile settings and do not wait for a retry. Products with the same content are adjacent,
-- because their common file may be deleted after it is cut. Comparing hashes takes half the time of comparing names; among 100
-- million tiles a product is taken for another one with a probability of 1 in 100,000.
SELECT p.uri FROM product p
WHERE p.path IS NOT NULL AND p.superseded_at IS NULL
  AND hash(p.uri, p.sha256) NOT IN (SELECT DISTINCT hash(product_uri, product_sha256) FROM tile
                                    WHERE settings_digest = $settings_digest)
  AND NOT EXISTS (SELECT 1 FROM rejection r WHERE r.entity = 'product' AND r.stage = 'tiles' AND r.entity_id = p.uri
                  AND r.settings_digest = $settings_digest)
  AND NOT EXISTS (SELECT 1 FROM attempt a WHERE a.entity = 'product' AND a.stage = 'tiles' AND a.entity_id = p.uri
                  AND a.next_try_at > $now)
ORDER BY p.sha256, p.proposal_id, p.uri
