"""A study that measures the effect of single design choices."""
