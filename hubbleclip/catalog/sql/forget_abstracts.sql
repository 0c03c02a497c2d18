-- Remove updated proposals from the word index; `index_abstracts` adds them again.
DELETE FROM abstract_word WHERE proposal_id IN (SELECT proposal_id FROM new_proposal);
DELETE FROM abstract_length WHERE proposal_id IN (SELECT proposal_id FROM new_proposal);
