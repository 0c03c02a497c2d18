CREATE OR REPLACE MACRO words("text") AS regexp_extract_all(lower("text"), '[a-z0-9]+');
COMMENT ON MACRO words IS 'The words of a text, in lower case';

-- BM25 with k1 = 1.2 and b = 0.75 (Robertson & Zaragoza 2009, eq. 3.15); the 1 + in the logarithm keeps the idf positive.
CREATE OR REPLACE MACRO search_abstracts("text") AS TABLE
  WITH everything AS (SELECT count(*) AS num, avg(num_words) AS mean FROM abstract_length WHERE num_words > 0),
  matching AS (FROM abstract_word WHERE word IN (SELECT unnest(words("text")))),
  weight AS (SELECT word, ln(1 + (any_value(everything.num) - count(*) + 0.5) / (count(*) + 0.5)) AS idf
             FROM matching, everything GROUP BY word),
  scored AS (SELECT proposal_id, sum(idf * matching.num * 2.2 / (matching.num + 1.2 * (0.25 + 0.75 * num_words / mean))) AS score
             FROM matching JOIN weight USING (word) JOIN abstract_length USING (proposal_id), everything GROUP BY proposal_id)
  SELECT proposal_id, round(score, 9) AS score, cycle, title, pi, abstract
  FROM scored JOIN proposal USING (proposal_id) ORDER BY score DESC, proposal_id;
COMMENT ON MACRO TABLE search_abstracts IS 'search_abstracts(text): proposals whose title, abstract or newest summary holds a word of the text, by BM25, best first';
