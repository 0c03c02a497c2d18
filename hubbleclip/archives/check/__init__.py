"""Check of an archive before its first ingest: are its answers as expected, and what will the ingest cost?"""
