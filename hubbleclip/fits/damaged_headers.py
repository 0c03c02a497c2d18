"""What must hold of a FITS file's headers before astropy reads by them: damaged ones make it read for ever, take all
memory, or crash the process in its C code.
"""

from __future__ import annotations

from typing import IO, Any

from astropy.io import fits as pyfits

from hubbleclip.core.errors import ImageError
from hubbleclip.fits.header_guard import BLOCK_BYTES, check_header

LARGEST_SIDE = 2**31 - 1
COMPRESSION = {"BLOCKSIZE": (16, 32), "BYTEPIX": (1, 2, 4, 8)}
"""Parameters of RICE_1 (FITS standard 4.0, section 10.4.1)."""


def check_start(file: IO[bytes]) -> None:
    """Refuse what is no FITS file, and headers without an end, before astropy reads them whole."""
    block = file.read(BLOCK_BYTES)
    if not block:
        raise ImageError("empty", "the file has no bytes")
    if not block.startswith(b"SIMPLE"):
        raise ImageError("unreadable", f"not a FITS file: it begins with {block[:24]!r}")
    if not check_header(file):
        raise ImageError("truncated", "the header has no END")
    file.seek(0)


def load_all(hdus: pyfits.HDUList, file: IO[bytes]) -> None:
    """Load every extension. Where one tells of less than no data, astropy would go back and read it for ever."""
    for hdu in hdus:
        if not hasattr(hdu, "fileinfo"):  # astropy could make nothing of its header
            continue
        info = hdu.fileinfo()
        if info["datSpan"] < 0:
            raise ImageError("unreadable", f"extension {hdu.name!r} tells of less than no data")
        check_header(file, info["datLoc"] + info["datSpan"])


def check_compression(hdu: Any) -> None:
    """Refuse parameters of a compressed image that its decoder would take as they are."""
    info = hdu.fileinfo()
    file = info["file"]
    file.seek(info["hdrLoc"])
    header = pyfits.Header.fromstring(file.read(info["datLoc"] - info["hdrLoc"]).decode("ascii", "replace"))
    for key, name in header["ZNAME*"].items():
        value = header.get(key.replace("ZNAME", "ZVAL"))
        if name in COMPRESSION and value not in COMPRESSION[name]:
            raise ImageError("unreadable", f"{name} of its compression is {value!r}, not of {COMPRESSION[name]}")
    for key, side in header["ZTILE*"].items():
        if not 0 < side <= LARGEST_SIDE:  # more than the image has is allowed
            raise ImageError("unreadable", f"{key} of its compression is {side!r}")
