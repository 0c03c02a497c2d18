"""From tiles and captions to splits, samples and shards, and from shards to batches."""
