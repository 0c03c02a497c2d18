"""Metadata of a dataset for people and programs: dataset card, Croissant description, sky index and credits."""
