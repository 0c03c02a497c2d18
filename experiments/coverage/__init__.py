"""The share of simulated populations whose 95 % intervals contain the true value: `make coverage`."""
