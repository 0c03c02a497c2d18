"""The stage `shards`, which builds a dataset from the tiles."""
