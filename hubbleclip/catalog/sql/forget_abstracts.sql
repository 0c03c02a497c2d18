-- Words of proposals that come anew.
DELETE FROM abstract_word WHERE proposal_id IN (SELECT proposal_id FROM new_proposal);
DELETE FROM abstract_length WHERE proposal_id IN (SELECT proposal_id FROM new_proposal);
