"""HTTP server of the simulated archive, with fault injection."""
