"""Build CLIP models by their open_clip names, and load weights from installed packages."""
