"""FITS headers: checks that they are safe to read, the facts that they state, and checks that a file is intact."""
