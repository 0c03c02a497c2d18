-- Numbers of abstracts for which a writer has written captions, of failed abstracts and of pending abstracts, which `pending_captions`
-- lists; and the number of phrases that were not in the text.
WITH source AS MATERIALIZED (SELECT DISTINCT sha256(abstract) AS abstract_sha256 FROM proposal WHERE abstract IS NOT NULL),
written AS (FROM abstract_summary SEMI JOIN source USING (abstract_sha256) WHERE writer = $writer),
failed AS (SELECT entity_id AS abstract_sha256 FROM rejection WHERE stage = 'captions'
           UNION SELECT entity_id FROM attempt WHERE stage = 'captions'),
waiting AS (SELECT entity_id AS abstract_sha256 FROM rejection WHERE stage = 'captions' AND settings_digest = $settings_digest
            UNION SELECT entity_id FROM attempt WHERE stage = 'captions' AND next_try_at > $now),
counted AS (
  SELECT (SELECT count(*) FROM source) AS num_abstracts, count(*) AS num_written,
         (SELECT count(*) FROM failed SEMI JOIN source USING (abstract_sha256) ANTI JOIN written USING (abstract_sha256)) AS num_failed,
         (SELECT count(*) FROM source ANTI JOIN written USING (abstract_sha256) ANTI JOIN waiting USING (abstract_sha256)) AS num_pending,
         coalesce(sum(num_named), 0)::BIGINT AS num_named, coalesce(sum(len(ungrounded)), 0)::BIGINT AS num_ungrounded,
         coalesce(sum(num_calls), 0)::BIGINT AS num_calls, sum(prompt_tokens)::BIGINT AS prompt_tokens,
         sum(answer_tokens)::BIGINT AS answer_tokens
  FROM written)
SELECT $writer AS writer, *, num_failed / greatest(num_abstracts, 1) AS failed_share,
       num_ungrounded / greatest(num_named, 1) AS ungrounded_share FROM counted
