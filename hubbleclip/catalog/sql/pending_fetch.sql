-- Selected products that must be fetched: they were never fetched, or the archive has a newer version, or they were deleted from
-- disk and must be cut under new tile settings. Products that wait for a retry or were rejected are not listed.
WITH cut AS (SELECT DISTINCT product_uri AS uri, product_sha256 AS sha256 FROM tile WHERE settings_digest = $tile_settings)
SELECT p.uri FROM product p LEFT JOIN cut USING (uri, sha256)
WHERE p.superseded_at IS NULL
  AND (p.sha256 IS NULL OR p.archive_version IS DISTINCT FROM p.fetched_version
       OR (p.path IS NULL AND cut.uri IS NULL
           AND NOT EXISTS (SELECT 1 FROM rejection r WHERE r.entity = 'product' AND r.stage = 'tiles'
                           AND r.entity_id = p.uri AND r.settings_digest = $tile_settings)))
  AND NOT EXISTS (SELECT 1 FROM attempt a WHERE a.entity = 'product' AND a.stage = 'fetch' AND a.entity_id = p.uri
                  AND a.next_try_at > $now)
  AND NOT EXISTS (SELECT 1 FROM rejection r WHERE r.entity = 'product' AND r.stage = 'fetch' AND r.entity_id = p.uri)
ORDER BY p.proposal_id, p.uri
