"""Shared foundations: errors, records, file names, file writing, text cleaning."""
