"""Headers for the calls in `fits.json`."""

from hubbleclip.fits.cards import BLOCK_BYTES, CARD_BYTES, MAX_HDUS, MAX_HEADER_BYTES

__all__ = ["MAX_HDUS", "MAX_HEADER_BYTES"]
PRIMARY = ("SIMPLE  =                    T", "BITPIX  = 8", "NAXIS   = 0")
"""Cards of a header without data."""


def header(*cards: str) -> bytes:
    """Cards in one block of a FITS file."""
    return "".join(card.ljust(CARD_BYTES) for card in cards).encode().ljust(BLOCK_BYTES)
