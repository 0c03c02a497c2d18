-- Years of release whose rows were counted in the present slot of the year. The entry of the first day says when.
SELECT year(DATE '1858-11-17' + day_mjd::INTEGER) AS year FROM day_count
WHERE archive = $archive AND query_digest = $query_digest AND day_mjd < $end
GROUP BY year
HAVING slot_of(year::VARCHAR, arg_min(counted_at, day_mjd), $days) = slot_of(year::VARCHAR, $now::TIMESTAMP, $days)
