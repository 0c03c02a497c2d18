-- All known observations of these proposals.
SELECT * FROM observation WHERE list_contains($proposal_ids, proposal_id) ORDER BY proposal_id, obs_id
