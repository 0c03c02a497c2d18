"""Metrics with confidence intervals, computed from similarity scores."""
