"""Text search over the tiles of a dataset."""
