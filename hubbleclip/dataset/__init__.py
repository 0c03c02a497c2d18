"""Datasets: splits, captions, samples and shards are made from tiles, and training batches are read from shards."""
