"""Checks of FITS headers before astropy uses them.

A damaged header can make astropy loop endlessly, exhaust the memory, or crash in C code, which ends the process.
"""

from __future__ import annotations

import os
import re
from typing import IO

from astropy.io import fits as pyfits

from hubbleclip.core.errors import ImageError
from hubbleclip.fits.cards import BLOCK_BYTES, CARD_BYTES, MAX_HDUS, MAX_HEADER_BYTES, end_of
from hubbleclip.fits.integrity import content_name

MANY = re.compile(rb"(NAXIS|TFIELDS) *= *\+?0*[1-9]\d{3}", re.IGNORECASE)
"""Matches a header card that declares 1,000 or more axes or columns; the FITS standard allows 999."""
REPLACEMENT = b"\xef\xbf\xbd"
"""The character U+FFFD in UTF-8. Decoding a binary file as text puts it in place of each invalid byte."""
PIECE_BYTES = 1 << 20
MAX_REPLACED_SHARE = 0.01
"""Largest share of a file's bytes that may be U+FFFD; random binary data contain it once in 16 million bytes."""


def check_header(file: IO[bytes], start: int = 0) -> bool:
    """Check the FITS header at byte `start`, return whether it has an END card, and restore the file position."""
    position = file.tell()
    file.seek(start)
    try:
        for _ in range(MAX_HEADER_BYTES // BLOCK_BYTES):
            block = file.read(BLOCK_BYTES)
            if any(found.start() % CARD_BYTES == 0 for found in MANY.finditer(block)):
                raise ImageError("unreadable", "a header declares more than 999 axes or columns")
            if end_of(block) is not None:
                return True
            if not block:
                break
        return False
    finally:
        file.seek(position)


def check_start(file: IO[bytes]) -> None:
    """Check that a file begins with a complete FITS header, and move the file position back to the first byte."""
    block = file.read(BLOCK_BYTES)
    if not block:
        raise ImageError("empty", "the file has no bytes")
    if not block.startswith(b"SIMPLE"):
        name = content_name(block[:512])
        words = f" but {name}: correct its name" if name else f": it begins with {block[:24]!r}"
        raise ImageError("unreadable", f"not a FITS file{words}")
    _reject_text(file)
    if not check_header(file):
        raise ImageError("truncated", "the header has no END card")
    file.seek(0)


def _reject_text(file: IO[bytes]) -> None:
    """Raise ImageError if a file was decoded and encoded as text, which replaces each invalid byte by U+FFFD."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    if size % BLOCK_BYTES == 0:  # each replacement of a byte by U+FFFD would add two bytes to the size
        return
    num_replaced = sum(piece.count(REPLACEMENT) for piece in iter(lambda: file.read(PIECE_BYTES), b""))
    if num_replaced * len(REPLACEMENT) > MAX_REPLACED_SHARE * size:
        words = f"{num_replaced} bytes of the file were replaced by U+FFFD when it was decoded as text"
        raise ImageError("unreadable", f"{words}: copy it again in binary mode")
    file.seek(0)


def load_all(hdus: pyfits.HDUList, file: IO[bytes]) -> None:
    """Load every extension of a file, and check each extension's header before astropy parses it."""
    for number, hdu in enumerate(hdus):
        if number >= MAX_HDUS:
            raise ImageError("unreadable", f"the file has more than {MAX_HDUS} HDUs")
        if not hasattr(hdu, "fileinfo"):  # astropy knows no HDU class for this header
            continue
        info = hdu.fileinfo()
        # A negative size would make astropy move backwards in the file and read the same extension in an endless loop.
        if info["datSpan"] < 0:
            raise ImageError("unreadable", f"extension {hdu.name!r} declares a negative number of bytes")
        check_header(file, info["datLoc"] + info["datSpan"])
