-- Count the tiles again by proposal and tile settings: samples of the newest dataset; current tiles without a split, and current tiles
-- with a split that are neither in the dataset nor rejected. Hashes in place of names take a tenth of the memory; among 100 million
-- tiles a count is wrong with a probability of 1 in 1,000.
DELETE FROM tile_count;
INSERT INTO tile_count
WITH current AS (SELECT hash(uri, sha256) AS product FROM product WHERE superseded_at IS NULL),
newest AS (SELECT digest FROM dataset ORDER BY built_at DESC, digest LIMIT 1),
placed AS (SELECT hash(tile_id) AS id FROM placement SEMI JOIN newest ON digest = dataset_digest),
refused AS (SELECT hash(entity_id) AS id FROM rejection WHERE stage = 'shards'),
assigned AS (SELECT hash(tile_id) AS id, split = 'excluded' AS is_excluded FROM split),
tiles AS (
    SELECT proposal_id, settings_digest, hash(tile_id) AS id,
           hash(product_uri, product_sha256) IN (FROM current) AS is_current FROM tile
)
SELECT proposal_id, settings_digest, count(placed.id) AS num_samples,
       count(*) FILTER (is_current AND assigned.id IS NULL) AS num_to_split,
       count(*) FILTER (is_current AND NOT is_excluded AND placed.id IS NULL AND refused.id IS NULL) AS num_to_shard
FROM tiles LEFT JOIN assigned USING (id) LEFT JOIN placed USING (id) LEFT JOIN refused USING (id)
GROUP BY proposal_id, settings_digest ORDER BY proposal_id, settings_digest;
