-- Number of samples of a dataset that are not in the dataset $trained of the last training. If nothing was trained yet,
-- all samples count.
SELECT count(*) AS num FROM placement p
WHERE p.dataset_digest = $digest AND NOT EXISTS (
  SELECT 1 FROM placement q WHERE q.dataset_digest = $trained AND q.tile_id = p.tile_id
)
