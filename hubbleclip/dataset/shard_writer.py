"""Write samples into tar files: order the samples, divide them into shards, and write bytes that are reproducible."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import tarfile
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hubbleclip.core.errors import SYSTEM_ERRNOS, DatasetError, TileFileError
from hubbleclip.core.io import atomic_write, sha256_bytes, sha256_file
from hubbleclip.core.parallel import ahead
from hubbleclip.core.records import Sample, to_row

IMAGE_SUFFIXES = (".png", ".jpg")
JPEG_MAGIC = b"\xff\xd8"
OWNER = "hubbleclip"
BLOCK_BYTES = tarfile.BLOCKSIZE
MAX_TRAILER_BYTES = tarfile.RECORDSIZE
"""Largest size in bytes of the trailer of a tar: two blocks of zeros and the padding to a full record."""
TILES_PREFETCHED = 64
READER_THREADS = min(4, os.cpu_count() or 1)
"""Number of threads that read and hash tiles. With small tiles, more threads only wait for the interpreter lock."""

ReadPng = Callable[[str], bytes]
"""Function that takes a tile id and returns the encoded image; it raises OSError if the file is missing."""
Extents = dict[str, tuple[int, int]]
"""Offset and length in bytes of each tile's encoded image in a shard, by tile id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardFile:
    """Properties of a tar file on disk.

    Attributes
    ----------
    sha256
        SHA-256 of the file, 64 hexadecimal digits.
    size_bytes
        Size of the file in bytes.
    extents
        Offset and length in bytes of each image, by tile id.

    """

    sha256: str
    size_bytes: int
    extents: Extents


def canonical_json(value: object) -> bytes:
    """Serialise a value to canonical JSON, so that equal values have equal bytes.

    Keys are sorted, no spaces separate tokens, floats are written as by `repr`. Raises ValueError for NaN and infinity.
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8")


def unit_hash(text: str) -> float:
    """Map a text to a pseudo-random number in [0, 1) that is the same on every machine."""
    # A float represents 48 bits exactly.
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big") / 2**48


def interleave(samples: Sequence[Sample]) -> list[Sample]:
    """Order samples so that those of each proposal group are spread evenly over the whole sequence."""
    groups: dict[str, list[Sample]] = defaultdict(list)
    # Sort by a hash of the tile id, so that neighbouring tiles of one image do not follow each other within a group.
    for sample in sorted(samples, key=lambda s: (unit_hash(s.tile_id), s.tile_id)):
        groups[sample.group_id].append(sample)
    positions = []
    for group_id, tiles in groups.items():
        phase = unit_hash(group_id)  # without this offset, every group would begin at position 0
        positions += [((index + phase) / len(tiles), sample.tile_id, sample) for index, sample in enumerate(tiles)]
    return [sample for _, _, sample in sorted(positions, key=itemgetter(0, 1))]


def partition_evenly(sizes_bytes: Sequence[int], max_bytes: int) -> list[int]:
    """Divide a sequence into the fewest parts of at most `max_bytes`, with the largest part as small as possible.

    Returns the end index of each part. This is the linear partition problem: greedy filling gives the fewest parts, and
    bisection gives the smallest limit with that number of parts. If an item is larger than `max_bytes`, the limit is
    the size of the largest item.
    """
    if not sizes_bytes:
        return []
    cumulative = np.concatenate(([0], np.cumsum(np.asarray(sizes_bytes, dtype=np.int64))))
    low, high = max(sizes_bytes), max(max_bytes, *sizes_bytes)
    min_runs = len(_fill(cumulative, high))  # greedy filling gives the fewest parts for a limit
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if len(_fill(cumulative, middle)) <= min_runs else (middle + 1, high)
    return _fill(cumulative, high)


def _fill(cumulative: npt.NDArray[np.int64], limit: int) -> list[int]:
    """Fill parts greedily up to a limit; return the end of each part. `cumulative` (n + 1,) has running sums from 0."""
    ends = [0]
    while ends[-1] < len(cumulative) - 1:
        ends.append(int(np.searchsorted(cumulative, cumulative[ends[-1]] + limit, side="right")) - 1)
    return ends[1:]


def sidecar(sample: Sample) -> bytes:
    """Serialise the row of a sample for the `json` member; the manifest and the catalog contain the same row."""
    return canonical_json(to_row(sample))


def members(sample: Sample, image: bytes, row: bytes | None = None) -> tuple[tuple[str, bytes], ...]:
    """List the name and the content of each tar member of a sample, in the order of the tar."""
    suffix_of_image = ".jpg" if image.startswith(JPEG_MAGIC) else ".png"
    contents = {".json": row or sidecar(sample), suffix_of_image: image, ".txt": sample.main_caption.encode("utf-8")}
    return tuple((sample.tile_id + suffix, content) for suffix, content in contents.items())


def member_bytes(name: str, content: bytes) -> bytes:
    """Return the bytes of a member in a tar: header, content, and zeros up to a whole block."""
    info = tarfile.TarInfo(name)  # all fields not set here have constant defaults, so the bytes are reproducible
    info.size, info.uname, info.gname = len(content), OWNER, OWNER
    return b"".join((info.tobuf(tarfile.USTAR_FORMAT), content, bytes(-len(content) % BLOCK_BYTES)))


def trailer_size_bytes(size_bytes: int) -> int:
    """Compute the size of the trailer after `size_bytes` of members: two blocks of zeros, padded to a full record."""
    return 2 * BLOCK_BYTES + -(size_bytes + 2 * BLOCK_BYTES) % tarfile.RECORDSIZE


def packed_size_bytes(sample: Sample, sidecar_bytes: int, png_bytes: int) -> int:
    """Compute the size of a sample in a tar: three members, each with a header block and padded to whole blocks."""
    lengths = (sidecar_bytes, png_bytes, len(sample.main_caption.encode("utf-8")))
    return sum(BLOCK_BYTES * (1 + math.ceil(length / BLOCK_BYTES)) for length in lengths)


def read_intact_png(tile_id: str, png_sha256: str, read_png: ReadPng) -> bytes | None:
    """Read a tile's encoded image; None if the image is missing or its hash is not the recorded one."""
    try:
        png = read_png(tile_id)
    except OSError as error:
        if error.errno in SYSTEM_ERRNOS - {errno.EIO}:  # EIO: the file is damaged, and is handled like a missing file
            raise
        return None
    return png if sha256_bytes(png) == png_sha256 else None


def write_tar(
    path: Path, samples: Sequence[Sample], read_png: ReadPng, sidecars: Mapping[str, bytes] = {}
) -> ShardFile:
    """Write one shard atomically; raises TileFileError with all tiles whose images are missing or damaged."""
    # `tarfile` would write the same bytes, but it takes twice as long and cannot hash the bytes.
    digest, size_bytes, extents = hashlib.sha256(), 0, {}
    damaged = []
    with atomic_write(path) as temporary, temporary.open("wb") as tar, ThreadPoolExecutor(READER_THREADS) as pool:
        images = ahead(
            pool, lambda one: read_intact_png(one.tile_id, one.png_sha256, read_png), samples, TILES_PREFETCHED
        )
        for sample, image in zip(samples, images, strict=True):
            if image is None:
                damaged.append(sample.tile_id)
                continue
            for name, content in members(sample, image, sidecars.get(sample.tile_id)):
                if content is image:
                    extents[sample.tile_id] = (size_bytes + BLOCK_BYTES, len(image))
                member = member_bytes(name, content)
                tar.write(member)
                digest.update(member)
                size_bytes += len(member)
        if damaged:
            raise TileFileError(damaged)
        trailer = bytes(trailer_size_bytes(size_bytes))
        tar.write(trailer)
        digest.update(trailer)
    return ShardFile(sha256=digest.hexdigest(), size_bytes=size_bytes + len(trailer), extents=extents)


def read_shard_file(path: Path) -> ShardFile:
    """Read the properties of a shard; raises DatasetError if the tar is not complete."""
    try:
        with tarfile.open(path, "r:") as tar:
            images = [member for member in tar if member.name.endswith(IMAGE_SUFFIXES)]
    except (tarfile.TarError, OSError) as error:
        raise DatasetError(
            f"{path} is not a complete tar ({error}): delete its folder and run `hubbleclip shards` again"
        ) from error
    extents = {member.name.partition(".")[0]: (member.offset_data, member.size) for member in images}
    return ShardFile(sha256=sha256_file(path), size_bytes=path.stat().st_size, extents=extents)


def image_key(path: Path) -> str:
    """Determine the suffix, `png` or `jpg`, of the first image in a shard."""
    with tarfile.open(path, "r:") as tar:
        return next(member.name for member in tar if member.name.endswith(IMAGE_SUFFIXES)).rpartition(".")[2]
