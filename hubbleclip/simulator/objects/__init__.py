"""Renderers that draw each kind of object as a noise-free image in one filter."""
