"""Define the sections of the settings, and read the settings of a profile."""
