"""Tiles and captions into splits, samples and shards, and shards into batches."""
