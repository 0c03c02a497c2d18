-- What a word adds to the BM25 score of a proposal or a target: the terms of the sum in `search_abstracts`, computed once, because
-- computing them for each text would take most of the time of a search.
WITH posting AS (
  SELECT false AS is_target, word, proposal_id, num FROM catalog.abstract_word
  UNION ALL SELECT true, word, proposal_id, num FROM abstract_word),
document AS (
  SELECT false AS is_target, proposal_id, num_words FROM catalog.abstract_length WHERE num_words > 0
  UNION ALL SELECT true, proposal_id, num_words FROM abstract_length WHERE num_words > 0),
everything AS (SELECT is_target, count(*) AS num, avg(num_words) AS mean FROM document GROUP BY is_target),
frequency AS (SELECT is_target, word, count(*) AS num FROM posting GROUP BY ALL),
numbered AS (
  SELECT false AS is_target, proposal_id, number FROM proposal_number UNION ALL SELECT true, proposal_id, number FROM target_number)
SELECT word, number AS document,
  ln(1 + (everything.num - frequency.num + 0.5) / (frequency.num + 0.5))
    * posting.num * 2.2 / (posting.num + 1.2 * (0.25 + 0.75 * num_words / mean)) AS weight
FROM posting JOIN document USING (is_target, proposal_id) JOIN numbered USING (is_target, proposal_id)
JOIN frequency USING (is_target, word) JOIN everything USING (is_target)
ORDER BY word, document
