"""Search over all tiles: the index, the query plan, and the records of queries and hits."""
