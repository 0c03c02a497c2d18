"""Texts of HST proposals, from STScI and NASA ADS."""
