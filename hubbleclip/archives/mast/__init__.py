"""Client and queries for the observations and products of MAST."""
