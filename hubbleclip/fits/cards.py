"""Parse the bytes of a FITS header: the cards, and the size of the data that follow the header.

The functions are safe for any content: they raise `UnsoundError` for an invalid header.
"""

from __future__ import annotations

import math
import re
from typing import Literal

Reason = Literal["truncated", "checksum", "damaged", "html"]

BLOCK_BYTES = 2880
CARD_BYTES = 80
MAX_HEADER_BYTES = 8 << 20
WIDTHS = frozenset({8, 16, 32, 64, -32, -64})
MAX_AXES = 999
MAX_HDUS = 2500
"""Maximum number of HDUs. Files of multi-slit spectra have a thousand HDUs, and astropy takes 1 ms per HDU."""
MAX_DATA_BYTES = 2**63


class UnsoundError(Exception):
    """A FITS file is invalid: `reason` is a short code, and `words` explains the fault in one line."""

    def __init__(self, reason: Reason, words: str) -> None:
        super().__init__(words)
        self.reason, self.words = reason, words


def end_of(block: bytes) -> int | None:
    """Find the offset of the END card in a header block."""
    return next((i for i in range(0, BLOCK_BYTES, CARD_BYTES) if block[i : i + 8] == b"END     "), None)


class Cards(dict[bytes, bytes]):
    """Cards of a header, as a mapping from each keyword to the text after the equals sign."""

    def __init__(self, header: bytes) -> None:
        end = len(header) - BLOCK_BYTES + (end_of(header[-BLOCK_BYTES:]) or 0)
        starts = range(end - CARD_BYTES, -1, -CARD_BYTES)  # reversed, so that a keyword's first card is kept
        cards = ((header[i : i + 8].rstrip(), header[i + 10 : i + 80]) for i in starts if header[i + 8 : i + 9] == b"=")
        super().__init__(cards)

    def value(self, keyword: bytes) -> bytes:
        """Return a keyword's value, with its quotes and comment removed; b"" if the keyword is absent."""
        return self.get(keyword, b"").split(b"/")[0].strip(b" '")

    def integer(self, keyword: bytes, default: int | None = None) -> int:
        """Return a keyword's integer value, or `default` for an empty value. Raises UnsoundError for any other text."""
        text = self.value(keyword)
        if not text and default is not None:
            return default
        if not re.fullmatch(rb"[+-]?\d+", text):
            raise UnsoundError("damaged", f"the FITS header has no integer value for {keyword.decode()}")
        return int(text)

    def data_bytes(self, *, is_primary: bool) -> int:
        """Compute the size of an HDU's data in bytes, without the padding."""
        bits, num_axes = self.integer(b"BITPIX"), self.integer(b"NAXIS")
        axes = [self.integer(b"NAXIS%d" % (i + 1)) for i in range(min(num_axes, MAX_AXES))]
        is_grouped = is_primary and axes[:1] == [0] and self.value(b"GROUPS") == b"T"
        has_counts = is_grouped or not is_primary
        num_extra = self.integer(b"PCOUNT", 0) if has_counts else 0
        num_groups = self.integer(b"GCOUNT", 1) if has_counts else 1
        num_pixels = math.prod(axes[1:] if is_grouped else axes) if axes else 0
        num_bytes = abs(bits) // 8 * num_groups * (num_extra + num_pixels)
        is_possible = bits in WIDTHS and num_axes <= MAX_AXES and min(num_axes, num_extra, num_groups, *axes) >= 0
        if not is_possible or num_bytes > MAX_DATA_BYTES:
            raise UnsoundError("damaged", "the FITS header declares an impossible data size")
        return num_bytes
