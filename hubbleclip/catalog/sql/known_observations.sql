-- All observations of these proposals that the archive lists.
SELECT * FROM observation WHERE list_contains($proposal_ids, proposal_id) AND withdrawn_at IS NULL ORDER BY proposal_id, obs_id
