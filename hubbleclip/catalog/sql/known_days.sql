-- Number of rows that were received for this query, for each known day of a range.
SELECT day_mjd, num_rows FROM day_count
WHERE archive = $archive AND query_digest = $query_digest AND day_mjd >= $first AND day_mjd < $end
