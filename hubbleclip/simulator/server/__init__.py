"""The HTTP side of the simulated archive, with fault injection."""
