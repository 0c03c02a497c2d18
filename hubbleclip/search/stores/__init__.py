"""Vector stores, which hold the features of all tiles and find the tiles most similar to a query."""
