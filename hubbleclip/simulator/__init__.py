"""A simulated archive behind the HTTP interface of MAST."""
