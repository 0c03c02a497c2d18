"""hubbleclip: from the Hubble archive to image-text models."""

__version__ = "0.1.0"
