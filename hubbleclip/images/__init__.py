"""From a FITS file to 8-bit tiles: read, mask, stretch, cut, encode. Nothing here knows the catalog or the network."""
