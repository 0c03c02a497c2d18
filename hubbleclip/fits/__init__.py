"""Check that FITS headers are safe to read and that files are intact, and read observation metadata from headers."""
