"""Proposals from STScI and NASA ADS."""
