"""Simulated Hubble archive with MAST's HTTP interface; its proposals, observations and files are made from a seed."""
