-- Selected products that must be fetched: they were never fetched, or the archive has a newer version, or they were deleted from
-- disk and must be cut under new tile settings. Products that wait for a retry or were rejected are not listed.
WITH wanted AS (
  SELECT uri, sha256, proposal_id, sha256 IS NULL OR archive_version IS DISTINCT FROM fetched_version AS is_new FROM product
  WHERE superseded_at IS NULL AND (is_new OR path IS NULL)
), cut AS ( -- a join with the few products in question, not with all of them
  SELECT DISTINCT uri FROM tile JOIN wanted ON product_uri = uri AND product_sha256 = sha256 WHERE settings_digest = $tile_settings
)
SELECT uri FROM wanted w
WHERE (is_new OR (NOT EXISTS (SELECT 1 FROM cut WHERE cut.uri = w.uri)
                  AND NOT EXISTS (SELECT 1 FROM rejection r WHERE r.entity = 'product' AND r.stage = 'tiles'
                                  AND r.entity_id = w.uri AND r.settings_digest = $tile_settings)))
  AND NOT EXISTS (SELECT 1 FROM attempt a WHERE a.entity = 'product' AND a.stage IN ('fetch', 'tiles') AND a.entity_id = w.uri
                  AND a.next_try_at > $now)
  AND NOT EXISTS (SELECT 1 FROM rejection r WHERE r.entity = 'product' AND r.stage = 'fetch' AND r.entity_id = w.uri)
ORDER BY proposal_id, uri
