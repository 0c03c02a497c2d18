-- Number of samples of a dataset that the last trained one does not have; all of them before the first training.
SELECT count(*) AS num FROM placement p
WHERE p.dataset_digest = $digest AND NOT EXISTS (
  SELECT 1 FROM placement q WHERE q.dataset_digest = $trained AND q.tile_id = p.tile_id
)
