-- Proposals with observations whose products must be listed: the products were never listed, or were listed under other settings,
-- before a change of the observation, or in an earlier slot (see schedule.sql). $again makes all proposals pending. num counts these
-- observations. num_known counts all observations of the proposal, because products are selected among all of them.
SELECT o.proposal_id, count(*) AS num_known,
       count(*) FILTER ($again OR l.obs_id IS NULL OR l.settings_digest <> $settings_digest
                        OR l.fingerprint IS DISTINCT FROM o.fingerprint
                        OR slot_of(o.proposal_id, l.listed_at, $days) < slot_of(o.proposal_id, $now::TIMESTAMP, $days)) AS num
FROM observation o LEFT JOIN listing l USING (obs_id)
WHERE o.withdrawn_at IS NULL
  AND NOT EXISTS (SELECT 1 FROM attempt a WHERE a.entity = 'proposal' AND a.stage = 'products'
                  AND a.entity_id = o.proposal_id AND a.next_try_at > $now)
  AND NOT EXISTS (SELECT 1 FROM rejection r WHERE r.entity = 'proposal' AND r.stage = 'products'
                  AND r.entity_id = o.proposal_id)
GROUP BY o.proposal_id HAVING num > 0
ORDER BY o.proposal_id
