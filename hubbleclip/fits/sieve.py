"""Read a FITS file as a stream, without the data of extensions that no stage of the pipeline reads.

A drizzled file holds the image (SCI), its weight (WHT), and a context image (CTX) that says which exposures contributed
to a pixel. Only SCI and WHT are read, so the data of CTX need not be fetched. The header of a skipped extension is kept
with `NAXIS = 0`: the file stays valid, and every extension keeps its index, name and version.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO

from hubbleclip.fits.cards import BLOCK_BYTES, CARD_BYTES, MAX_HEADER_BYTES, Cards, UnsoundError, end_of

MIN_SKIP_BYTES = 2_000_000
"""Minimum size of skipped data in bytes. Smaller data are downloaded, because a new request takes at least as long."""
UNREAD = re.compile(r"CTX|CON|ERR|SAMP|TIME|AREA|VAR_(POISSON|RNOISE|FLAT)")
"""Names of image extensions that no stage reads. SCI, DQ, WHT, and the distortion tables of the WCS are read."""
SKIPPED = b"NOTREAD"
"""Keyword for the number of skipped data bytes; it is added to the header of a skipped extension."""
LOST_CARDS = re.compile(rb"NAXIS\d+|CHECKSUM|DATASUM|" + SKIPPED)
"""Keywords that describe the data, and are therefore removed from the header of a skipped extension."""


def is_sieved(file_name: str, size_bytes: int | None) -> bool:
    """Check whether a file may have skipped extensions: only uncompressed FITS files of at least 4 MB may have them."""
    return file_name.lower().endswith(".fits") and (size_bytes or 0) >= 2 * MIN_SKIP_BYTES


class FitsSieve:
    """Filter for the bytes of a FITS file, which must be fed in order.

    Attributes
    ----------
    offset
        Offset in the original file of the next byte to feed.
    num_skipped
        Number of bytes of the original file that were skipped.
    num_pixels
        Number of pixels of the SCI extensions.
    must_skip
        Whether the data at `offset` of the original file are to be skipped, because no stage reads them. If so, call
        `skip`, which moves `offset` to the end of these data.

    """

    def __init__(self) -> None:
        self.offset = 0
        self.num_skipped = 0
        self.num_pixels = 0
        self._num_hdus = 0
        self._header = bytearray()  # the blocks of an unfinished header
        self._left = 0  # data bytes of the current extension that have not been fed
        self.must_skip = False

    @property
    def is_complete(self) -> bool:
        """Whether the bytes fed so far end exactly at the end of an extension."""
        return self._num_hdus > 0 and not self._header and not self._left

    def skip(self) -> None:
        """Skip the data of the current extension if no stage reads them."""
        if self.must_skip:
            self.offset += self._left
            self.num_skipped += self._left
            self._left, self.must_skip = 0, False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Filter the next bytes of the original file."""
        position = 0
        while position < len(data) and not self.must_skip:
            wanted = self._left or BLOCK_BYTES - len(self._header) % BLOCK_BYTES
            piece = data[position : position + wanted]
            position += len(piece)
            self.offset += len(piece)
            if self._left:
                self._left -= len(piece)
                yield piece
                continue
            self._header += piece
            start = b"XTENSION=" if self._num_hdus else b"SIMPLE  ="
            if not self._header.startswith(start[: len(self._header)]):
                raise UnsoundError("damaged", "the bytes are not those of a FITS header")
            if len(piece) == wanted and end_of(bytes(self._header[-BLOCK_BYTES:])) is not None:
                yield self._finish_header()
            elif len(self._header) > MAX_HEADER_BYTES:
                raise UnsoundError("damaged", "a FITS header has no END card")

    def resume(self, file: BinaryIO, size: int) -> None:
        """Restore the state that the filter had when it had written the first `size` bytes of a filtered file."""
        # each block that is read belongs to a header, because `seek` moves past the data
        while file.tell() < size and (block := file.read(BLOCK_BYTES)):
            self.skip()
            list(self.feed(block))
            have = 0 if self.must_skip else min(self._left, size - file.tell())
            self._left -= have
            self.offset += have
            file.seek(have, 1)
        if self._header or file.seek(0, 2) < size:
            raise UnsoundError("truncated", "the partial file ends within a header or is too short")

    def _finish_header(self) -> bytes:
        """Read a complete header, decide whether its data are skipped, and return the header to write."""
        header, cards = bytes(self._header), Cards(bytes(self._header))
        self._header.clear()
        num_bytes = cards.data_bytes(is_primary=self._num_hdus == 0)
        name = cards.value(b"EXTNAME").decode("ascii", "replace").strip().upper()
        is_image = cards.value(b"XTENSION") == b"IMAGE"
        if name == "SCI" and is_image:
            self.num_pixels += num_bytes * 8 // abs(cards.integer(b"BITPIX"))
        self._num_hdus += 1
        skipped = cards.integer(SKIPPED, 0)
        self._left = skipped or -(-num_bytes // BLOCK_BYTES) * BLOCK_BYTES
        self.must_skip = bool(skipped) or (is_image and self._left >= MIN_SKIP_BYTES and bool(UNREAD.fullmatch(name)))
        return _without_data(header, self._left) if self.must_skip else header


def filtered(data: bytes) -> tuple[bytes, FitsSieve]:
    """Filter a whole file in memory; return the bytes that are kept, and the filter."""
    sieve, pieces = FitsSieve(), list[bytes]()
    while sieve.offset < len(data):
        pieces += sieve.feed(data[sieve.offset :])
        sieve.skip()
    return b"".join(pieces), sieve


def _without_data(header: bytes, num_skipped: int) -> bytes:
    """Return the header with NAXIS = 0 and a card for the number of skipped bytes; its length is unchanged."""
    end = len(header) - BLOCK_BYTES + (end_of(header[-BLOCK_BYTES:]) or 0)
    cards = [header[start : start + CARD_BYTES] for start in range(0, end, CARD_BYTES)]
    # If NAXIS > 0, at least the card NAXIS1 is dropped here, which leaves room for the added card that gives the number
    # of skipped bytes.
    kept = [card for card in cards if not LOST_CARDS.fullmatch(card[:8].rstrip())]
    place = next(place for place, card in enumerate(kept) if card[:8] == b"NAXIS   ")
    kept[place] = b"NAXIS   =                    0 / the data were not downloaded"
    kept.append(b"%-8s= %20d / bytes of data that were not downloaded" % (SKIPPED, num_skipped))
    # The header keeps its number of blocks. Blank cards fill it up, because END must be in the last block.
    text = b"".join(card.ljust(CARD_BYTES) for card in kept).ljust(len(header) - BLOCK_BYTES)
    return (text + b"END").ljust(len(header))
