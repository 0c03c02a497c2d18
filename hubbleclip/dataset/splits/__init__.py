"""Assign tiles to train, val and test so that there is no leakage between the splits."""
