-- Add the words of every proposal that is not in the word index yet; `search_abstracts` reads the index. A word consists of the
-- characters a to z and 0 to 9; upper case is converted to lower case.
INSERT INTO abstract_word
SELECT word, proposal_id, count(*) FROM (
  SELECT proposal_id, unnest(words(title || ' ' || coalesce(abstract, ''))) AS word
  FROM proposal ANTI JOIN abstract_length USING (proposal_id))
GROUP BY ALL ORDER BY ALL;
INSERT INTO abstract_length
SELECT proposal_id, coalesce(sum(num), 0) FROM proposal ANTI JOIN abstract_length USING (proposal_id)
LEFT JOIN abstract_word USING (proposal_id) GROUP BY proposal_id ORDER BY proposal_id;
