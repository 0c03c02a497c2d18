-- Tiles by proposal: samples of the newest dataset, and tiles that are pending under these settings, as counted when the catalog was
-- published.
SELECT proposal_id, sum(num_samples)::BIGINT AS num_samples,
       coalesce(sum(num_to_split) FILTER (settings_digest = $tile_settings), 0)::BIGINT AS num_to_split,
       coalesce(sum(num_to_shard) FILTER (settings_digest = $tile_settings), 0)::BIGINT AS num_to_shard
FROM tile_count GROUP BY proposal_id ORDER BY num_samples DESC, proposal_id
