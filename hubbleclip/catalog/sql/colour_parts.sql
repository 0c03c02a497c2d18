-- Products that belong to a visit and were cut into tiles, with their filters. coloured_at is the time at which the colour tile of
-- the product, or the rejection of its visit, was written; it is null if there is neither.
WITH seen AS (
  SELECT product_uri AS uri, product_sha256 AS sha256, any_value(filter) AS filter, any_value(instrument) AS instrument
  FROM tile WHERE settings_digest = $settings_digest AND coalesce(view, 'native') <> 'colour' AND filter IS NOT NULL
  GROUP BY ALL
), part AS (
  SELECT uri, max(cut_at) AS cut_at FROM (
    SELECT unnest(part_uris) AS uri, cut_at FROM tile WHERE view = 'colour' AND settings_digest = $settings_digest)
  GROUP BY uri
), visited AS (
  SELECT obs_id, visit || ' ' || coalesce(target_name, '') AS visit FROM observation WHERE visit IS NOT NULL
)
SELECT p.*, visited.visit, seen.filter, seen.instrument, greatest(part.cut_at, r.rejected_at) AS coloured_at
FROM product p JOIN visited USING (obs_id) JOIN seen ON seen.uri = p.uri AND seen.sha256 = p.sha256
LEFT JOIN part ON part.uri = p.uri
LEFT JOIN rejection r ON r.entity = 'visit' AND r.entity_id = visited.visit AND r.stage = 'colour'
  AND r.settings_digest = $settings_digest
WHERE p.path IS NOT NULL AND p.superseded_at IS NULL
  AND NOT EXISTS (SELECT 1 FROM attempt a WHERE a.entity = 'visit' AND a.stage = 'colour' AND a.entity_id = visited.visit
                  AND a.next_try_at > $now)
ORDER BY visited.visit, p.uri
