"""Samples into tars: in which order, where to cut, and the same bytes on every machine."""

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

PICTURES = (".png", ".jpg")
JPEG_START = b"\xff\xd8"
OWNER = "hubbleclip"
BLOCK_BYTES = tarfile.BLOCKSIZE
END_BYTES = tarfile.RECORDSIZE
"""The most that the end of a tar can add."""
TILES_AHEAD = 64
THREADS = min(4, os.cpu_count() or 1)
"""They wait for tiles and for their hashes; of small tiles, more threads would only wait for one another."""

ReadPng = Callable[[str], bytes]
Extents = dict[str, tuple[int, int]]
"""Where the bytes of each tile's picture stand in a shard: offset and length."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tar:
    """A shard that stands on the disk."""

    sha256: str
    size_bytes: int
    extents: Extents


def canonical_json(value: object) -> bytes:
    """The one JSON text of a value: sorted keys, no blanks, UTF-8, floats by `repr`. Raises ValueError for NaN."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8")


def unit_hash(text: str) -> float:
    """A number in [0, 1) that looks random and is the same for the same text everywhere."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big") / 2**48


def interleave(samples: Sequence[Sample]) -> list[Sample]:
    """Order in which every proposal group is spread evenly from end to end, so that any run of samples sees many.

    Tile i of a group's n stands at (i + u) / n of the way, with u drawn by a hash of the group; the order in which
    the samples come in plays no part.
    """
    groups: dict[str, list[Sample]] = defaultdict(list)
    for sample in sorted(samples, key=lambda s: (unit_hash(s.tile_id), s.tile_id)):
        groups[sample.group_id].append(sample)
    places = []
    for group_id, tiles in groups.items():
        first = unit_hash(group_id)
        places += [((index + first) / len(tiles), sample.tile_id, sample) for index, sample in enumerate(tiles)]
    return [sample for _, _, sample in sorted(places, key=itemgetter(0, 1))]


def cut_evenly(sizes_bytes: Sequence[int], most_bytes: int) -> list[int]:
    """Ends of the fewest runs of at most `most_bytes` each, the largest run made as small as that number allows.

    A single item larger than `most_bytes` has a run of its own. Bisects the limit of a greedy fill.
    """
    if not sizes_bytes:
        return []
    upto = np.concatenate(([0], np.cumsum(np.asarray(sizes_bytes, dtype=np.int64))))
    low, high = max(sizes_bytes), max(most_bytes, *sizes_bytes)
    fewest = len(_fill(upto, high))
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if len(_fill(upto, middle)) <= fewest else (middle + 1, high)
    return _fill(upto, high)


def _fill(upto: npt.NDArray[np.int64], limit: int) -> list[int]:
    ends = [0]
    while ends[-1] < len(upto) - 1:
        ends.append(int(np.searchsorted(upto, upto[ends[-1]] + limit, side="right")) - 1)
    return ends[1:]


def sidecar(sample: Sample) -> bytes:
    """The `json` member: the row as the manifest and the catalog have it."""
    return canonical_json(to_row(sample))


def members(sample: Sample, picture: bytes, row: bytes | None = None) -> tuple[tuple[str, bytes], ...]:
    """Name and content of a sample's members, in the order of the tar. `row` is its sidecar, made already."""
    kind = ".jpg" if picture.startswith(JPEG_START) else ".png"
    contents = {".json": row or sidecar(sample), kind: picture, ".txt": sample.captions[0].encode("utf-8")}
    return tuple((sample.tile_id + suffix, content) for suffix, content in contents.items())


def member_info(name: str, size_bytes: int) -> tarfile.TarInfo:
    """A member's header, with nothing of the machine in it."""
    info = tarfile.TarInfo(name)
    info.size, info.mtime, info.mode, info.uid, info.gid = size_bytes, 0, 0o644, 0, 0
    info.uname = info.gname = OWNER
    return info


def member_bytes(size_bytes: int) -> int:
    """What a member takes in a tar: a block of header and whole blocks of data."""
    return BLOCK_BYTES * (1 + math.ceil(size_bytes / BLOCK_BYTES))


def packed_bytes(sample: Sample, sidecar_bytes: int, png_bytes: int) -> int:
    """How much a sample takes in a tar: three members."""
    lengths = (sidecar_bytes, png_bytes, len(sample.captions[0].encode("utf-8")))
    return sum(map(member_bytes, lengths))


def read_checked_png(sample: Sample, read_png: ReadPng) -> bytes:
    """A tile's bytes. Raises DatasetError when they are missing or are not those that the catalog describes."""
    try:
        png = read_png(sample.tile_id)
    except OSError as error:
        raise DatasetError(f"tile {sample.tile_id} cannot be read ({error}): run `hubbleclip tiles` again") from error
    if sha256_bytes(png) != sample.png_sha256:
        raise DatasetError(f"tile {sample.tile_id} is damaged: delete its PNG and run `hubbleclip tiles` again")
    return png


def write_tar(path: Path, samples: Sequence[Sample], read_png: ReadPng, sidecars: Mapping[str, bytes] = {}) -> Tar:
    """Write one shard, atomically. The bytes depend on samples and PNGs alone: no times, owners or paths.

    Threads read and check tiles ahead. `sidecars` has the `json` members that are made already, by tile id.
    """
    read = partial(read_checked_png, read_png=read_png)
    with atomic_write(path) as temporary, ThreadPoolExecutor(THREADS) as pool:
        with tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as tar:
            for sample, picture in zip(samples, ahead(pool, read, samples, TILES_AHEAD), strict=True):
                for name, data in members(sample, picture, sidecars.get(sample.tile_id)):
                    tar.addfile(member_info(name, len(data)), io.BytesIO(data))
        return read_tar(temporary)


def read_tar(path: Path) -> Tar:
    """What there is to say of a shard. Raises DatasetError when the file is no whole tar."""
    return Tar(sha256=sha256_file(path), size_bytes=path.stat().st_size, extents=read_png_extents(path))


def read_png_extents(path: Path) -> Extents:
    """Where each picture's bytes stand in a shard: tile id to (offset, length), in the order of the tar.

    Raises DatasetError when the file is no whole tar.
    """
    try:
        with tarfile.open(path, "r:") as tar:
            pictures = [member for member in tar if member.name.endswith(PICTURES)]
    except (tarfile.TarError, OSError) as error:
        raise DatasetError(
            f"{path} is no whole tar ({error}): delete its folder and run `hubbleclip shards` again"
        ) from error
    return {member.name.partition(".")[0]: (member.offset_data, member.size) for member in pictures}
