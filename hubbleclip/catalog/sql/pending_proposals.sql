-- Proposals that known observations refer to and that were never fetched, or have no abstract and were fetched in an
-- earlier slot (see schedule.sql).
-- If $again is true, all proposals of known observations are listed. Proposals that wait for a retry or were rejected are not listed.
SELECT DISTINCT o.proposal_id, coalesce(p.abstract IS NULL AND slot_of(o.proposal_id, p.fetched_at, $days)
                                        < slot_of(o.proposal_id, $now::TIMESTAMP, $days), false) AS is_stale
FROM observation o LEFT JOIN proposal p USING (proposal_id)
WHERE ($again OR p.proposal_id IS NULL OR is_stale) AND o.withdrawn_at IS NULL
  AND NOT EXISTS (SELECT 1 FROM attempt a WHERE a.entity = 'proposal' AND a.stage = 'proposals'
                  AND a.entity_id = o.proposal_id AND a.next_try_at > $now)
  AND NOT EXISTS (SELECT 1 FROM rejection r WHERE r.entity = 'proposal' AND r.stage = 'proposals'
                  AND r.entity_id = o.proposal_id)
ORDER BY o.proposal_id
