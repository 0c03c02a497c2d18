"""Observations and products from MAST."""
