-- Observations that an earlier run received for this query, but that are not among $seen, the observations that were now received for
-- the same days of release.
SELECT obs_id FROM observation
WHERE archive = $archive AND query_digest = $query_digest AND withdrawn_at IS NULL
  AND released_mjd >= $first AND released_mjd < $end AND obs_id NOT IN (SELECT unnest($seen::VARCHAR[]))
