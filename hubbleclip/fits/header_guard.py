"""What must hold of a FITS header before astropy reads by it."""

from __future__ import annotations

import re
from typing import IO

from hubbleclip.core.errors import ImageError

BLOCK_BYTES, CARD_BYTES = 2880, 80
MAX_HEADER_BYTES = 8 << 20
MANY = re.compile(rb"(NAXIS|TFIELDS) *= *\+?0*[1-9]\d{3}", re.IGNORECASE)
END = b"END     "


def check_header(file: IO[bytes], start: int = 0) -> bool:
    """Refuse the header at `start`, if one stands there, where it tells of more axes or columns than the standard
    allows, 999: astropy would count them all. Returns whether it has an END. The file's position stays. Raises
    ImageError `unreadable`.
    """
    position = file.tell()
    file.seek(start)
    try:
        for _ in range(MAX_HEADER_BYTES // BLOCK_BYTES):
            block = file.read(BLOCK_BYTES)
            if any(found.start() % CARD_BYTES == 0 for found in MANY.finditer(block)):
                raise ImageError("unreadable", "a header tells of more than 999 axes or columns")
            if any(block.startswith(END, card) for card in range(0, len(block), CARD_BYTES)):
                return True
            if not block:
                break
        return False
    finally:
        file.seek(position)
