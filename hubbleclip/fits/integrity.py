"""Check that a fetched file is complete and has the format that its name implies.

Only the structure of the file is checked; no pixel is decoded. Before the data of an HDU are read or unpacked, the size
that its header declares is compared with a limit: the size of the file, or the maximum unpacked size of a gzip file. A
header that declares too large a size therefore causes no extra work.
"""

from __future__ import annotations

import gzip
import io
import os
import re
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, NoReturn

import numpy as np

from hubbleclip.fits.cards import BLOCK_BYTES, MAX_HDUS, MAX_HEADER_BYTES, Cards, Reason, UnsoundError, end_of

SUMMED_BYTES = 1 << 20
ALL_ONES = 0xFFFFFFFF
FITS_START = b"SIMPLE  ="
MAX_UNPACKED_BYTES = 1_000_000_000
"""A gzip file may unpack to this number of bytes or to `MAX_RATIO` times its packed size, whichever is larger."""
MAX_RATIO = 200
MAX_SIDE_PX = 60_000
START_OF_SCAN, JPEG_END = b"\xff\xda", b"\xff\xd9"
"""Markers of the JPEG format (ITU T.81, annex B). The entropy-coded data of a scan contain neither."""
FOREIGN_STARTS: tuple[tuple[re.Pattern[bytes], Reason, str], ...] = (
    (re.compile(rb"\s*<(!doctype html|html)", re.IGNORECASE), "html", "a web page"),
    (re.compile(rb"(\xef\xbb\xbf)?\s*<"), "html", "a web page or XML"),
    (
        re.compile(rb"[\0-\x7f]?(\xef\xbf\xbd){2}|\x1f\xef\xbf\xbd"),
        "damaged",
        "a file that was decoded as text (U+FFFD)",
    ),
    (re.compile(rb"\s*[{\[][\s\"{\[\]}]"), "html", "a JSON response"),
    (re.compile(rb"version https://git-lfs"), "damaged", "a Git LFS pointer"),
    (re.compile(rb"\x1f\x8b"), "damaged", "a gzip file"),
    (re.compile(rb"\xff\xd8\xff"), "damaged", "a JPEG file"),
    (re.compile(FITS_START), "damaged", "a FITS file"),
    (re.compile(rb"\x89PNG"), "damaged", "a PNG file"),
    (re.compile(rb"BZh[1-9]"), "damaged", "a bzip2 file"),
    (re.compile(rb"PK\x03\x04"), "damaged", "a zip file"),
    (re.compile(rb".{257}ustar", re.DOTALL), "damaged", "a tar archive"),
    (re.compile(rb"[\s -~]+\Z"), "damaged", "a text"),
)
"""Formats that servers may send instead of the requested file. Each has a pattern that matches the first bytes, a
reason code, and a name for error messages.
"""


def content_name(start: bytes) -> str | None:
    """Recognise the format of a file, such as `a JPEG file`, by the file's first 512 bytes; None if it is unknown."""
    return next((words for pattern, _, words in FOREIGN_STARTS if pattern.match(start)), None)


def content_problem(content: Path | bytes, suffix: str, listed_bytes: int | None = None) -> UnsoundError | None:
    """Return a file's first fault, or None. `suffix` gives the format, because the file's name may end in `.part`."""
    size = len(content) if isinstance(content, bytes) else content.stat().st_size
    try:
        with io.BytesIO(content) if isinstance(content, bytes) else content.open("rb") as file:
            start = file.read(512)
            check, magic = KINDS.get(suffix.rpartition(".")[2], KINDS["fits"])
            if not start.startswith(magic):
                _reject_foreign(start, magic)
            if listed_bytes not in {None, size}:
                reason: Reason = "truncated" if size < (listed_bytes or 0) else "damaged"
                raise UnsoundError(reason, f"{size} bytes came, but the archive lists {listed_bytes}")
            file.seek(0)
            check(file, size, listed_bytes is not None)
    except UnsoundError as error:
        return error
    return None


def _reject_foreign(start: bytes, magic: bytes) -> NoReturn:
    """Raise UnsoundError for a file that does not begin with `magic`, the first bytes of its format."""
    if magic.startswith(start):
        raise UnsoundError("truncated", "the file ends within its first bytes" if start else "an empty file came")
    for pattern, reason, words in FOREIGN_STARTS:
        if pattern.match(start):
            raise UnsoundError(reason, f"{words} came instead of the file")
    raise UnsoundError("damaged", "the file does not begin with the first bytes of its format")


def _check_fits(file: BinaryIO, size: int, is_size_listed: bool) -> None:
    """Check an uncompressed FITS file. Raises UnsoundError."""
    odd = size % BLOCK_BYTES
    if odd:
        raise UnsoundError("truncated", f"the FITS file is cut: its last block has {odd} of {BLOCK_BYTES} bytes")
    _walk_fits(file, size, is_size_listed)


def _check_gzip(file: BinaryIO, size: int, is_size_listed: bool) -> None:
    """Unpack a gzip file in pieces, check the FITS file in it, and verify the gzip checksum at the end."""
    limit_bytes = max(MAX_UNPACKED_BYTES, MAX_RATIO * size)
    try:
        with gzip.GzipFile(fileobj=file) as unpacked:
            _walk_fits(unpacked, limit_bytes, is_size_listed)
    except EOFError as error:
        raise UnsoundError("truncated", "the gzip file is damaged: it ends too early") from error
    except (zlib.error, gzip.BadGzipFile) as error:
        raise UnsoundError("damaged", f"the gzip file is damaged ({error})") from error


def _walk_fits(file: BinaryIO | gzip.GzipFile, limit_bytes: int, is_size_listed: bool) -> None:
    """Check all HDUs of a FITS file and their checksums. The file must end where its last HDU ends.

    A file with fewer extensions than NEXTEND declares was cut between two HDUs. NEXTEND is ignored if the file has the
    size that the archive lists, because cutouts and high-level products copy NEXTEND from their source files. A file
    may have more extensions than NEXTEND declares, because some products add extensions.
    """
    position = num_hdus = num_declared = 0
    while header := _read_header(file, num_hdus):
        cards = Cards(header)
        num_bytes = -(-cards.data_bytes(is_primary=num_hdus == 0) // BLOCK_BYTES) * BLOCK_BYTES
        position += len(header) + num_bytes
        if position > limit_bytes and isinstance(file, gzip.GzipFile):
            words = f"the gzip file would unpack to {position} bytes, but only {limit_bytes} are allowed"
            raise UnsoundError("damaged", words)
        if position > limit_bytes:
            words = f"HDU {num_hdus} would end at byte {position}, but the file ends at {limit_bytes}"
            raise UnsoundError("truncated", f"the FITS file is cut: {words}")
        _check_sums(file, header, cards, num_bytes, num_hdus)
        num_declared = num_declared if num_hdus else cards.integer(b"NEXTEND", 0)
        num_hdus += 1
        if num_hdus > MAX_HDUS:
            raise UnsoundError("damaged", f"the file has more than {MAX_HDUS} HDUs")
    if num_hdus <= num_declared and not is_size_listed:
        have = f"{num_hdus - 1} of {num_declared} extensions (NEXTEND)"
        raise UnsoundError("truncated", f"the FITS file is cut: it has {have}")


def _read_header(file: BinaryIO | gzip.GzipFile, number: int) -> bytes:
    """Read all blocks of the header that begins at the file's position; b"" at the end of the file."""
    blocks: list[bytes] = []
    start = b"XTENSION=" if number else FITS_START
    while not blocks or end_of(blocks[-1]) is None:
        block = file.read(BLOCK_BYTES)
        if not block and not blocks and number:
            return b""
        if not blocks and not block.startswith(start):
            if number == 0:
                _reject_foreign(block, FITS_START)
            raise UnsoundError("damaged", f"the bytes after HDU {number - 1} are not a FITS extension")
        if len(block) < BLOCK_BYTES:
            raise UnsoundError("truncated", f"the FITS file is cut in the header of HDU {number}")
        if len(blocks) == MAX_HEADER_BYTES // BLOCK_BYTES:
            words = f"the header of HDU {number} has no END card in its first {MAX_HEADER_BYTES} bytes"
            raise UnsoundError("damaged", words)
        blocks.append(block)
    return b"".join(blocks)


def _check_sums(file: BinaryIO | gzip.GzipFile, header: bytes, cards: Cards, num_bytes: int, number: int) -> None:
    """Verify DATASUM and CHECKSUM, if the HDU has them, and move the file position to the end of the HDU's data.

    Both keywords are defined in the FITS standard 4.0, section 4.4.2.7. Appendix J of the standard defines a
    ones'-complement sum, which is computed here as a plain sum modulo 2^32 - 1. This sum over an intact HDU is 0.
    """
    datasum, checksum = cards.value(b"DATASUM"), cards.value(b"CHECKSUM")
    if not (datasum or checksum or isinstance(file, gzip.GzipFile)):
        file.seek(num_bytes, os.SEEK_CUR)
        return
    total = _sum_words(file, num_bytes, number)
    if datasum and (not datasum.isdigit() or int(datasum) != (total % ALL_ONES or min(total, ALL_ONES))):
        raise UnsoundError("checksum", f"the data of HDU {number} differ from their DATASUM")
    if checksum and (total + int(np.frombuffer(header, ">u4").sum(dtype=np.uint64))) % ALL_ONES:
        raise UnsoundError("checksum", f"HDU {number} differs from its CHECKSUM")


def _sum_words(file: BinaryIO | gzip.GzipFile, num_bytes: int, number: int) -> int:
    """Return the sum of the next bytes, read as unsigned big-endian 32-bit words. `num_bytes` is a multiple of 4."""
    total = 0
    while num_bytes:
        data = file.read(min(num_bytes, SUMMED_BYTES))
        if not data or len(data) % 4:
            raise UnsoundError("truncated", f"the FITS file is cut in the data of HDU {number}")
        total += int(np.frombuffer(data, ">u4").sum(dtype=np.uint64))
        num_bytes -= len(data)
    return total


def _check_jpeg(file: BinaryIO, size: int, is_size_listed: bool) -> None:
    """Check that a JPEG file has a valid header, and that only zero bytes follow the end marker."""
    from PIL.JpegImagePlugin import JpegImageFile  # noqa: PLC0415 - a slow import, which FITS files do not need

    data = file.read()
    try:
        with JpegImageFile(io.BytesIO(data)) as image:
            width, height = image.size
    except (OSError, SyntaxError, ValueError, LookupError, TypeError, struct.error) as error:
        raise UnsoundError("damaged", f"the JPEG file has no sound header: {error}") from error
    if max(width, height) > MAX_SIDE_PX:
        raise UnsoundError("damaged", f"the JPEG file declares an impossible size: {width} x {height} px")
    # Pixels are not decoded, because decoding takes as long as cutting tiles. Coded pixels contain no end marker, so
    # an end marker after the last start-of-scan marker is the end of the picture.
    if not data.rstrip(b"\0").endswith(JPEG_END):
        if data.rfind(JPEG_END) > data.rfind(START_OF_SCAN):
            raise UnsoundError("damaged", "bytes follow the end of the JPEG file")
        raise UnsoundError("truncated", f"the JPEG file is cut after {size} bytes")


KINDS: dict[str, tuple[Callable[[BinaryIO, int, bool], None], bytes]] = {
    "fits": (_check_fits, FITS_START),
    "gz": (_check_gzip, b"\x1f\x8b"),
    "jpg": (_check_jpeg, b"\xff\xd8\xff"),
    "jpeg": (_check_jpeg, b"\xff\xd8\xff"),
}
"""For each format, the function that checks a file, and the file's first bytes. Other formats are checked as FITS."""
