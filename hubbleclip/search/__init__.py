"""Search over the tiles of a dataset."""
