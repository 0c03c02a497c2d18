-- Mark observations that the archive no longer lists, and their products. The other products of their proposals are selected again.
-- An observation without a fingerprint counts as changed when the archive lists it again.
UPDATE observation SET withdrawn_at = $now, fingerprint = NULL WHERE list_contains($ids, obs_id);
UPDATE product SET superseded_at = $now WHERE superseded_at IS NULL AND list_contains($ids, obs_id);
DELETE FROM rejection WHERE entity = 'observation' AND list_contains($ids, entity_id);
DELETE FROM listing WHERE obs_id IN (SELECT obs_id FROM observation WHERE proposal_id IN (
    SELECT proposal_id FROM observation WHERE list_contains($ids, obs_id)));
DELETE FROM attempt WHERE entity = 'proposal'
AND entity_id NOT IN (SELECT proposal_id FROM observation WHERE withdrawn_at IS NULL);
