-- Distinct abstracts that the writer has not written about. Abstracts that wait for a retry or were rejected are not listed. The title
-- is empty if proposals with different titles share the abstract.
WITH hashed AS MATERIALIZED ( -- each abstract is hashed once
  SELECT sha256(abstract) AS abstract_sha256, abstract, title, category FROM proposal WHERE abstract IS NOT NULL
), source AS (
  SELECT abstract_sha256, any_value(abstract) AS abstract,
         CASE WHEN count(DISTINCT title) = 1 THEN min(title) ELSE '' END AS title, min(category) AS category
  FROM hashed GROUP BY abstract_sha256
)
FROM source s
WHERE NOT EXISTS (SELECT 1 FROM abstract_summary w WHERE w.abstract_sha256 = s.abstract_sha256 AND w.writer = $writer)
  AND NOT EXISTS (SELECT 1 FROM attempt a WHERE a.entity = 'abstract_summary' AND a.stage = 'captions'
                  AND a.entity_id = s.abstract_sha256 AND a.next_try_at > $now)
  AND NOT EXISTS (SELECT 1 FROM rejection r WHERE r.entity = 'abstract_summary' AND r.stage = 'captions'
                  AND r.entity_id = s.abstract_sha256 AND r.settings_digest = $settings_digest)
ORDER BY abstract_sha256
