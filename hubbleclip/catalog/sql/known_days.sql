-- Numbers of rows of the days of a range, as they were received for this query.
SELECT day_mjd, num_rows FROM day_count
WHERE archive = $archive AND query_digest = $query_digest AND day_mjd >= $first AND day_mjd < $end
