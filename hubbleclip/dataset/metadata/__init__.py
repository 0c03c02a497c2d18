"""Metadata of a dataset for people and programs: card, Croissant description, sky index, credits."""
