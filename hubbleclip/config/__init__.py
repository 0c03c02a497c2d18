"""All settings, by section, and the profiles."""
