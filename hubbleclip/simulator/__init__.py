"""Simulated Hubble archive with MAST's HTTP interface; a seed determines all proposals, observations and files."""
