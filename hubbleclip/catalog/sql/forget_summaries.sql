-- Remove proposals with a new summary from the word index; `index_abstracts` adds them again.
DELETE FROM abstract_word WHERE proposal_id IN (
  SELECT proposal_id FROM proposal WHERE sha256(abstract) IN (SELECT abstract_sha256 FROM new_abstract_summary));
DELETE FROM abstract_length WHERE proposal_id IN (
  SELECT proposal_id FROM proposal WHERE sha256(abstract) IN (SELECT abstract_sha256 FROM new_abstract_summary));
