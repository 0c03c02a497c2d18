-- How many items wait for a later try, and when the first may be tried.
SELECT count(*) AS num, min(next_try_at) AS next_try_at FROM attempt WHERE next_try_at > $now
