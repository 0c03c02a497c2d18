"""Vector stores: the features of all tiles, scanned by similarity."""
