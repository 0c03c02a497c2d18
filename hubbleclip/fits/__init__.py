"""FITS headers: which are safe to read, what they mean, and whether a file is intact."""
