"""HTTP server of the simulated archive."""
