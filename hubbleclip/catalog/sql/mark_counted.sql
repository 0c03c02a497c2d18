-- Record that the count of a year was compared with the archive's: its first day has an entry even if it has no rows.
INSERT INTO day_count SELECT $archive, $query_digest, $first, 0, $now WHERE NOT EXISTS (
    FROM day_count WHERE archive = $archive AND query_digest = $query_digest AND day_mjd = $first);
UPDATE day_count SET counted_at = $now WHERE archive = $archive AND query_digest = $query_digest AND day_mjd = $first;
