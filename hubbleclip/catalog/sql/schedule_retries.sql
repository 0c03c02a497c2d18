-- Schedule the next attempt at each failed item; failure number $max_runs becomes its rejection, except for the reasons $open.
-- The wait is $retry_hours after the first failure and doubles with each further failure, up to 30 days. After a first failure of
-- the machine or of the store (`dataset`), there is no wait.
INSERT INTO attempt (entity, entity_id, stage, attempts, error, detail, first_at, last_at, next_try_at)
SELECT entity, entity_id, stage, coalesce(a.attempts, 0) + 1, n.reason, n.detail, coalesce(a.first_at, $now), $now,
    $now + to_microseconds(CASE WHEN n.reason IN ('machine', 'dataset') AND a.attempts IS NULL THEN 0
        ELSE (least($retry_hours * 2.0 ** least(coalesce(a.attempts, 0), 60), 720) * 3600e6)::BIGINT END)
FROM new_rejection n LEFT JOIN attempt a USING (entity, entity_id, stage)
ON CONFLICT (entity, entity_id, stage) DO UPDATE SET
    attempts = excluded.attempts, error = excluded.error, detail = excluded.detail, last_at = excluded.last_at,
    next_try_at = excluded.next_try_at;
INSERT INTO rejection (entity, entity_id, stage, reason, detail, settings_digest, rejected_at)
SELECT entity, entity_id, stage, n.reason, n.detail, n.settings_digest, n.rejected_at
FROM new_rejection n JOIN attempt a USING (entity, entity_id, stage)
WHERE a.attempts >= $max_runs AND NOT list_contains($open, n.reason)
ON CONFLICT (entity, entity_id, stage) DO UPDATE SET
    reason = excluded.reason, detail = excluded.detail, settings_digest = excluded.settings_digest, rejected_at = excluded.rejected_at;
DELETE FROM attempt WHERE attempts >= $max_runs AND NOT list_contains($open, error);
