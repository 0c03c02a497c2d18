"""Scores turned into metrics with intervals."""
