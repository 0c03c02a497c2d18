-- Proposals that observations name and that have not been fetched.
SELECT DISTINCT o.proposal_id FROM observation o
WHERE NOT EXISTS (SELECT 1 FROM proposal p WHERE p.proposal_id = o.proposal_id)
  AND NOT EXISTS (SELECT 1 FROM rejection r WHERE r.entity = 'proposal' AND r.entity_id = o.proposal_id
                  AND ($again IS FALSE))
ORDER BY o.proposal_id
