"""Assignment of tiles to train, val and test without leakage."""
