-- Samples of a dataset that the one trained on last had not; all, where none was.
SELECT count(*) AS num FROM placement p
WHERE p.dataset_digest = $digest AND NOT EXISTS (
  SELECT 1 FROM placement q WHERE q.dataset_digest = $trained AND q.tile_id = p.tile_id
)
