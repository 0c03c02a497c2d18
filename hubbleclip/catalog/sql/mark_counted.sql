-- Record the time at which a year was compared with the archive's count, in the row of the year's first day. That row is made even if
-- no observation was released on that day.
INSERT INTO day_count SELECT $archive, $query_digest, $first, 0, $now WHERE NOT EXISTS (
    FROM day_count WHERE archive = $archive AND query_digest = $query_digest AND day_mjd = $first);
UPDATE day_count SET counted_at = $now WHERE archive = $archive AND query_digest = $query_digest AND day_mjd = $first;
