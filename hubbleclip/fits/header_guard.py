"""Checks of FITS headers before astropy uses them.

Damaged headers make astropy read without end, take all memory, or crash the process in its C code.
"""

from __future__ import annotations

import re
from typing import IO, Any

from astropy.io import fits as pyfits

from hubbleclip.core.errors import ImageError

BLOCK_BYTES, CARD_BYTES = 2880, 80
MAX_HEADER_BYTES = 8 << 20
MANY = re.compile(rb"(NAXIS|TFIELDS) *= *\+?0*[1-9]\d{3}", re.IGNORECASE)
"""1,000 axes or columns and more; the standard allows 999."""
END = b"END     "
LARGEST_SIDE = 2**31 - 1
COMPRESSION = {"BLOCKSIZE": (16, 32), "BYTEPIX": (1, 2, 4, 8)}
"""Parameters of RICE_1 (FITS standard 4.0, section 10.4.1)."""


def check_header(file: IO[bytes], start: int = 0) -> bool:
    """Check one header, if there is one at `start`; the file's position does not change.

    Parameters
    ----------
    file
        The FITS file, uncompressed.
    start
        First byte of the header.

    Returns
    -------
    bool
        Whether it has an END.

    Raises
    ------
    ImageError
        `unreadable` for more axes or columns than the standard allows: astropy would count them all.

    """
    position = file.tell()
    file.seek(start)
    try:
        for _ in range(MAX_HEADER_BYTES // BLOCK_BYTES):
            block = file.read(BLOCK_BYTES)
            if any(found.start() % CARD_BYTES == 0 for found in MANY.finditer(block)):
                raise ImageError("unreadable", "a header claims more than 999 axes or columns")
            if any(block.startswith(END, card) for card in range(0, len(block), CARD_BYTES)):
                return True
            if not block:
                break
        return False
    finally:
        file.seek(position)


def check_start(file: IO[bytes]) -> None:
    """Check that a file begins with a whole FITS header, and go back to its first byte.

    Parameters
    ----------
    file
        The file, at its first byte.

    Raises
    ------
    ImageError
        `empty`, `unreadable` for another kind of file, or `truncated` for a header without END.

    """
    block = file.read(BLOCK_BYTES)
    if not block:
        raise ImageError("empty", "the file has no bytes")
    if not block.startswith(b"SIMPLE"):
        raise ImageError("unreadable", f"not a FITS file: it begins with {block[:24]!r}")
    if not check_header(file):
        raise ImageError("truncated", "the header has no END")
    file.seek(0)


def load_all(hdus: pyfits.HDUList, file: IO[bytes]) -> None:
    """Load every extension, each header checked first.

    Parameters
    ----------
    hdus
        The open file; its extensions are loaded when iterated.
    file
        The same file.

    Raises
    ------
    ImageError
        `unreadable` for a header that is out of bounds.

    """
    for hdu in hdus:
        if not hasattr(hdu, "fileinfo"):  # astropy found no class for its header
            continue
        info = hdu.fileinfo()
        # With a negative size astropy would go back in the file and read the same extension without end.
        if info["datSpan"] < 0:
            raise ImageError("unreadable", f"extension {hdu.name!r} claims a negative number of bytes")
        check_header(file, info["datLoc"] + info["datSpan"])


def check_compression(hdu: Any) -> None:
    """Check the parameters of a compressed image, which its decoder does not.

    Parameters
    ----------
    hdu
        A compressed image extension.

    Raises
    ------
    ImageError
        `unreadable` for a parameter out of bounds.

    """
    info = hdu.fileinfo()
    file = info["file"]
    file.seek(info["hdrLoc"])
    # astropy shows the header of the image; the parameters are in that of the table that holds it.
    header = pyfits.Header.fromstring(file.read(info["datLoc"] - info["hdrLoc"]).decode("ascii", "replace"))
    for key, name in header["ZNAME*"].items():
        value = header.get(key.replace("ZNAME", "ZVAL"))
        if name in COMPRESSION and value not in COMPRESSION[name]:
            raise ImageError("unreadable", f"{name} of its compression is {value!r}, not one of {COMPRESSION[name]}")
    for key, side in header["ZTILE*"].items():
        if not 0 < side <= LARGEST_SIDE:  # larger than the image is allowed
            raise ImageError("unreadable", f"{key} of its compression is {side!r}")
