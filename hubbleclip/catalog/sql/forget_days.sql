-- Mark the days of release of the observations $ids, so that these days are queried again.
UPDATE day_count SET num_rows = NULL WHERE (archive, query_digest, day_mjd) IN (
    SELECT archive, query_digest, floor(released_mjd)::BIGINT FROM observation WHERE list_contains($ids, obs_id));
