-- Number of failed items that wait for a retry, and the time of the first retry.
SELECT count(*) AS num, min(next_try_at) AS next_try_at FROM attempt WHERE next_try_at > $now
