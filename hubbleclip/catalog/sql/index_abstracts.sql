-- Add the words of every proposal that is not in the word index yet; `search_abstracts` reads the index. A word consists of the
-- characters a to z and 0 to 9; upper case is converted to lower case. The words of a proposal include those of the newest summary of its
-- abstract, and of the search phrases.
INSERT INTO abstract_word
WITH written AS (
  SELECT abstract_sha256, arg_max(summary || ' ' || array_to_string(search_phrases, ' '), (answered_at, writer)) AS "text"
  FROM abstract_summary GROUP BY abstract_sha256
)
SELECT word, proposal_id, count(*) FROM (
  SELECT proposal_id, unnest(words(title || ' ' || coalesce(abstract, '') || ' ' || coalesce(written."text", ''))) AS word
  FROM proposal ANTI JOIN abstract_length USING (proposal_id) LEFT JOIN written ON written.abstract_sha256 = sha256(abstract))
GROUP BY ALL ORDER BY ALL;
INSERT INTO abstract_length
SELECT proposal_id, coalesce(sum(num), 0) FROM proposal ANTI JOIN abstract_length USING (proposal_id)
LEFT JOIN abstract_word USING (proposal_id) GROUP BY proposal_id ORDER BY proposal_id;
