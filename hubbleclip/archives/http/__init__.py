"""The HTTP client that all archives share."""
