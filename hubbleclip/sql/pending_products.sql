-- Observations whose products have not been listed.
SELECT o.* FROM observation o
WHERE NOT EXISTS (SELECT 1 FROM product p WHERE p.obs_id = o.obs_id)
  AND NOT EXISTS (SELECT 1 FROM rejection r WHERE r.entity = 'observation' AND r.stage = 'products' AND r.entity_id = o.obs_id
                  AND r.settings_digest = $settings_digest)
ORDER BY o.proposal_id, o.obs_id
