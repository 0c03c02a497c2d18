-- Proposals that observations name and that have not been fetched ($again: all), but for those that wait or were given
-- up.
SELECT DISTINCT o.proposal_id FROM observation o
WHERE ($again OR NOT EXISTS (SELECT 1 FROM proposal p WHERE p.proposal_id = o.proposal_id))
  AND NOT EXISTS (SELECT 1 FROM attempt a WHERE a.entity = 'proposal' AND a.stage = 'proposals'
                  AND a.entity_id = o.proposal_id AND a.next_try_at > $now)
  AND NOT EXISTS (SELECT 1 FROM rejection r WHERE r.entity = 'proposal' AND r.stage = 'proposals'
                  AND r.entity_id = o.proposal_id)
ORDER BY o.proposal_id
