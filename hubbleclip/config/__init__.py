"""Settings by section, and the profiles."""
