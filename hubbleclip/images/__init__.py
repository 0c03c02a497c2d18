"""Conversion of FITS files to 8-bit tiles: read, mask, stretch, cut, encode. No module here uses catalog or network."""
