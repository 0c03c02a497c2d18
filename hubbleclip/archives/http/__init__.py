"""One HTTP client for every archive."""
