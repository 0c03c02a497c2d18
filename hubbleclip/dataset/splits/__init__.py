"""Which tile belongs to train, val or test."""
