"""The stage `ingest`, which queries the archive and fetches files to the disk."""
