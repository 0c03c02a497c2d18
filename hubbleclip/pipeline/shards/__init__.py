"""From tiles to a dataset."""
