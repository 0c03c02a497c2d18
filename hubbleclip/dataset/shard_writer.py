"""Write samples into tars: their order, the partition into shards, and bytes that are the same on every machine."""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import tarfile
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hubbleclip.core.errors import DatasetError
from hubbleclip.core.io import atomic_write, sha256_bytes, sha256_file
from hubbleclip.core.parallel import ahead
from hubbleclip.core.records import Sample, to_row

IMAGE_SUFFIXES = (".png", ".jpg")
JPEG_MAGIC = b"\xff\xd8"
OWNER = "hubbleclip"
BLOCK_BYTES = tarfile.BLOCKSIZE
MAX_TRAILER_BYTES = tarfile.RECORDSIZE
"""Bytes reserved for the trailer of a tar: two zero blocks and the padding to a full record."""
TILES_PREFETCHED = 64
READER_THREADS = min(4, os.cpu_count() or 1)
"""Threads that read and hash tiles; more of them only compete for the interpreter lock on small tiles."""

ReadPng = Callable[[str], bytes]
"""Tile id to the encoded image; raises OSError for a missing file."""
Extents = dict[str, tuple[int, int]]
"""Offset and length in bytes of each tile's encoded image in a shard, by tile id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardFile:
    """Facts of a tar on disk.

    Attributes
    ----------
    sha256
        64 hexadecimal digits.
    size_bytes
        Size of the file.
    extents
        Offset and length of each image, by tile id.

    """

    sha256: str
    size_bytes: int
    extents: Extents


def canonical_json(value: object) -> bytes:
    """Serialise a value to its one canonical JSON text: sorted keys, no blanks, UTF-8, floats by `repr`.

    Parameters
    ----------
    value
        Anything that JSON can represent; NaN and infinity raise ValueError.

    Returns
    -------
    bytes
        Without a final newline.

    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8")


def unit_hash(text: str) -> float:
    """Map a text to a pseudo-random number that is the same on every machine.

    Parameters
    ----------
    text
        Any text.

    Returns
    -------
    float
        Uniform in [0, 1), from the first 48 bits of SHA-256.

    """
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big") / 2**48  # 48 bits are exact in a float


def interleave(samples: Sequence[Sample]) -> list[Sample]:
    """Order samples so that every proposal group is spread evenly, and any run of samples contains many groups.

    Parameters
    ----------
    samples
        In any order, which does not affect the result.

    Returns
    -------
    list[Sample]
        Sample i of the n of a group is at (i + u) / n of the whole, where u in [0, 1) is a hash of the group id.

    """
    groups: dict[str, list[Sample]] = defaultdict(list)
    # By hash and not by id: within a group, neighbouring tiles of one image do not follow each other.
    for sample in sorted(samples, key=lambda s: (unit_hash(s.tile_id), s.tile_id)):
        groups[sample.group_id].append(sample)
    positions = []
    for group_id, tiles in groups.items():
        phase = unit_hash(group_id)  # without it, every group would start at position 0
        positions += [((index + phase) / len(tiles), sample.tile_id, sample) for index, sample in enumerate(tiles)]
    return [sample for _, _, sample in sorted(positions, key=itemgetter(0, 1))]


def partition_evenly(sizes_bytes: Sequence[int], max_bytes: int) -> list[int]:
    """Partition items into the fewest runs of limited size, with the largest run as small as possible.

    Parameters
    ----------
    sizes_bytes
        Sizes of the items, in order.
    max_bytes
        Largest run; a single larger item has a run of its own.

    Returns
    -------
    list[int]
        End index of each run.

    Notes
    -----
    Bisects the limit of a greedy fill, the standard solution of the linear partition problem.

    """
    if not sizes_bytes:
        return []
    cumulative = np.concatenate(([0], np.cumsum(np.asarray(sizes_bytes, dtype=np.int64))))
    low, high = max(sizes_bytes), max(max_bytes, *sizes_bytes)
    min_runs = len(_fill(cumulative, high))  # a greedy fill needs the fewest runs for a given limit
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if len(_fill(cumulative, middle)) <= min_runs else (middle + 1, high)
    return _fill(cumulative, high)


def _fill(cumulative: npt.NDArray[np.int64], limit: int) -> list[int]:
    """Ends of the runs that a greedy fill gives, from cumulative sizes (n + 1,) in bytes."""
    ends = [0]
    while ends[-1] < len(cumulative) - 1:
        ends.append(int(np.searchsorted(cumulative, cumulative[ends[-1]] + limit, side="right")) - 1)
    return ends[1:]


def sidecar(sample: Sample) -> bytes:
    """Serialise the `json` member of a sample: the same row as in the manifest and the catalog.

    Parameters
    ----------
    sample
        All of its fields are written.

    Returns
    -------
    bytes
        Canonical JSON.

    """
    return canonical_json(to_row(sample))


def members(sample: Sample, image: bytes, row: bytes | None = None) -> tuple[tuple[str, bytes], ...]:
    """List the tar members of a sample.

    Parameters
    ----------
    sample
        Gives the names, the sidecar and the main caption.
    image
        PNG or JPEG file; its first bytes decide the suffix.
    row
        Sidecar, if it was serialised before.

    Returns
    -------
    tuple[tuple[str, bytes], ...]
        Name and content in the order of the tar: `.json`, `.png` or `.jpg`, `.txt`.

    """
    suffix_of_image = ".jpg" if image.startswith(JPEG_MAGIC) else ".png"
    contents = {".json": row or sidecar(sample), suffix_of_image: image, ".txt": sample.captions[0].encode("utf-8")}
    return tuple((sample.tile_id + suffix, content) for suffix, content in contents.items())


def member_info(name: str, size_bytes: int) -> tarfile.TarInfo:
    """Header of a tar member, without times, users or other properties of the machine.

    Parameters
    ----------
    name
        Name of the member.
    size_bytes
        Size of its content.

    Returns
    -------
    tarfile.TarInfo
        Regular file, mode 0644.

    """
    info = tarfile.TarInfo(name)
    info.size, info.mtime, info.mode, info.uid, info.gid = size_bytes, 0, 0o644, 0, 0  # the same on every machine
    info.uname = info.gname = OWNER
    return info


def member_size_bytes(size_bytes: int) -> int:
    """Size of a member in a tar: one header block and the content padded to whole blocks.

    Parameters
    ----------
    size_bytes
        Size of the content.

    Returns
    -------
    int
        Multiple of 512 bytes.

    """
    return BLOCK_BYTES * (1 + math.ceil(size_bytes / BLOCK_BYTES))


def packed_size_bytes(sample: Sample, sidecar_bytes: int, png_bytes: int) -> int:
    """Size of a sample in a tar: its three members.

    Parameters
    ----------
    sample
        Its main caption is measured.
    sidecar_bytes
        Size of its `json` member.
    png_bytes
        Size of its encoded image.

    Returns
    -------
    int
        Multiple of 512 bytes.

    """
    lengths = (sidecar_bytes, png_bytes, len(sample.captions[0].encode("utf-8")))
    return sum(map(member_size_bytes, lengths))


def read_checked_png(sample: Sample, read_png: ReadPng) -> bytes:
    """Read a tile's encoded image and compare its hash with the sample's.

    Parameters
    ----------
    sample
        `tile_id` and `png_sha256` are used.
    read_png
        Tile id to encoded image.

    Returns
    -------
    bytes
        The file as it is stored.

    Raises
    ------
    DatasetError
        When the image is missing or its hash differs.

    """
    try:
        png = read_png(sample.tile_id)
    except OSError as error:
        raise DatasetError(f"tile {sample.tile_id} cannot be read ({error}): run `hubbleclip tiles` again") from error
    if sha256_bytes(png) != sample.png_sha256:
        raise DatasetError(f"tile {sample.tile_id} is damaged: delete its PNG and run `hubbleclip tiles` again")
    return png


def write_tar(
    path: Path, samples: Sequence[Sample], read_png: ReadPng, sidecars: Mapping[str, bytes] = {}
) -> ShardFile:
    """Write one shard, atomically; its bytes depend on the samples and images alone.

    Parameters
    ----------
    path
        Target file.
    samples
        In the order of the tar.
    read_png
        Tile id to encoded image; called ahead of the writer by `READER_THREADS` threads.
    sidecars
        `json` members that were serialised before, by tile id.

    Returns
    -------
    ShardFile
        Hash, size and image positions, read back from the file.

    """
    read = partial(read_checked_png, read_png=read_png)
    with atomic_write(path) as temporary, ThreadPoolExecutor(READER_THREADS) as pool:
        with tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as tar:
            for sample, image in zip(samples, ahead(pool, read, samples, TILES_PREFETCHED), strict=True):
                for name, data in members(sample, image, sidecars.get(sample.tile_id)):
                    tar.addfile(member_info(name, len(data)), io.BytesIO(data))
        return read_shard_file(temporary)  # before the rename: a tar that cannot be read back never gets its name


def read_shard_file(path: Path) -> ShardFile:
    """Read hash, size and image positions of a tar.

    Parameters
    ----------
    path
        Existing shard; DatasetError is raised if it is not a complete tar.

    Returns
    -------
    ShardFile
        Facts of the file.

    """
    return ShardFile(sha256=sha256_file(path), size_bytes=path.stat().st_size, extents=read_image_extents(path))


def read_image_extents(path: Path) -> Extents:
    """Read the positions of the images in a tar.

    Parameters
    ----------
    path
        Existing shard.

    Returns
    -------
    Extents
        Offset and length in bytes by tile id, in the order of the tar.

    Raises
    ------
    DatasetError
        When the file is not a complete tar.

    """
    try:
        with tarfile.open(path, "r:") as tar:
            images = [member for member in tar if member.name.endswith(IMAGE_SUFFIXES)]
    except (tarfile.TarError, OSError) as error:
        raise DatasetError(
            f"{path} is not a complete tar ({error}): delete its folder and run `hubbleclip shards` again"
        ) from error
    return {member.name.partition(".")[0]: (member.offset_data, member.size) for member in images}
