"""Benchmarks whose rules or labels come from outside a dataset."""
