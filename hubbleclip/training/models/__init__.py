"""Models by their open_clip names, and weights that packages ship."""
