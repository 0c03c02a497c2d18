-- Years of release whose rows have been counted in their present slot (see schedule.sql). The time of the count is in the row of the
-- year's first day.
SELECT year(DATE '1858-11-17' + day_mjd::INTEGER) AS year FROM day_count
WHERE archive = $archive AND query_digest = $query_digest AND day_mjd < $end
GROUP BY year
HAVING slot_of(year::VARCHAR, arg_min(counted_at, day_mjd), $days) = slot_of(year::VARCHAR, $now::TIMESTAMP, $days)
