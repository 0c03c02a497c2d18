"""Foundations that all other packages use: errors, records, file names, file writing and text cleaning."""
