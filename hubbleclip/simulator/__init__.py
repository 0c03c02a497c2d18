"""A simulated Hubble archive behind MAST's HTTP interface: proposals, observations and FITS files made from a seed."""
