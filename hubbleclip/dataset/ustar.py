"""The tar format that shards have: ustar with nothing of the machine in it, written without a TarInfo a member.

A header is the same 512 bytes for every member but for name, size and checksum (POSIX.1-2017, pax, "ustar Interchange
Format"); the tests hold it against `tarfile` and GNU tar.
"""

from __future__ import annotations

import tarfile

OWNER = "hubbleclip"
BLOCK_BYTES = tarfile.BLOCKSIZE
RECORD_BYTES = tarfile.RECORDSIZE
"""A tar ends in two blocks of zeros, filled up to the next whole record."""
NAME_BYTES = 100
PADDING = bytes(BLOCK_BYTES)

_OWNER = OWNER.encode().ljust(32, b"\0")
_BEFORE_SIZE = b"0000644\0" + b"0000000\0" * 2
_MTIME = b"00000000000\0"
_AFTER_CHECKSUM = (b"0".ljust(101, b"\0") + b"ustar\x0000" + _OWNER * 2).ljust(BLOCK_BYTES - 156, b"\0")
_FIXED_SUM = sum(_BEFORE_SIZE + _MTIME + b" " * 8 + _AFTER_CHECKSUM)


def header(name: bytes, size_bytes: int) -> bytes:
    """The 512 bytes before a member's data. Raises ValueError for a name or size that ustar cannot hold."""
    size = b"%011o\0" % size_bytes
    if len(name) > NAME_BYTES or len(size) > 12:
        raise ValueError(f"{name!r} of {size_bytes} bytes does not fit a ustar header")
    checksum = _FIXED_SUM + sum(name) + sum(size)
    return b"%b%b%b%b%06o\0 %b" % (
        name.ljust(NAME_BYTES, b"\0"), _BEFORE_SIZE, size, _MTIME, checksum, _AFTER_CHECKSUM,
    )  # fmt: skip


def member(name: bytes, data: bytes) -> tuple[bytes, bytes, bytes]:
    """A member as it stands in a tar, in three parts: header, data and padding."""
    return header(name, len(data)), data, padding(len(data))


def padding(size_bytes: int) -> bytes:
    """Zeros from the end of a member's data to the next whole block."""
    return PADDING[: -size_bytes % BLOCK_BYTES]


def member_bytes(size_bytes: int) -> int:
    """What a member takes: its header and whole blocks of data."""
    return BLOCK_BYTES - (-size_bytes // BLOCK_BYTES) * BLOCK_BYTES


def end(size_bytes: int) -> bytes:
    """The zeros that close a tar whose members take `size_bytes`."""
    return bytes(2 * BLOCK_BYTES + -(size_bytes + 2 * BLOCK_BYTES) % RECORD_BYTES)
