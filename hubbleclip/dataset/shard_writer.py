"""Samples into tars: in which order, where to cut, and the same bytes on every machine."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import tarfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import chain, repeat
from operator import attrgetter, itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hubbleclip.core.errors import DatasetError
from hubbleclip.core.io import atomic_write, sha256_bytes, sha256_file
from hubbleclip.core.parallel import ahead
from hubbleclip.core.records import Sample
from hubbleclip.dataset import ustar

PICTURES = (".png", ".jpg")
JPEG_START = b"\xff\xd8"
END_BYTES = ustar.RECORD_BYTES
"""The most that the end of a tar can add."""
CHUNK_BYTES, CHUNK_SAMPLES = 1 << 20, 64
"""About as much, and at most as many, one thread hands to the next: few turns, and little enough for its cache."""
CHUNKS_AHEAD = 8
SMALL_BYTES = 1 << 12
"""In the mean, where parts are joined: the interpreter takes longer to pass them on than to copy them."""
SYNC_BYTES = 1 << 25
"""So often the disk is asked to write, that there is little left to wait for at the end."""
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
    return _ENCODER.encode(value).encode("utf-8")


_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


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
    """The `json` member: the row as the manifest and the catalog have it; `canonical_json(to_row(sample))`."""
    return sidecars_of([sample])[0]


def sidecars_of(samples: Sequence[Sample]) -> list[bytes]:
    """The `json` members of samples, written column by column: a large dataset spends more time here than on its tars'
    headers.
    """
    columns = map(_texts, zip(*map(_VALUES, samples), strict=True))
    texts = chain.from_iterable((repeat(key), column) for key, column in zip(_KEYS, columns, strict=False))
    return ["".join((*row, "}")).encode("utf-8") for row in zip(*texts, strict=False)]


def _texts(column: Sequence[Any]) -> Iterable[str]:
    """The JSON of each value; where all are of one type, its writer goes through them without a look at each."""
    kinds = set(map(type, column))
    if len(kinds) > 1:
        return [text for value in column for text in _texts((value,))]
    return map(_WRITERS.get(kinds.pop(), _ENCODER.encode), column)


def _number(value: float | list[float]) -> str:
    text = repr(value)
    if "n" in text:  # nan, inf
        raise ValueError(f"{text} has no place in JSON")
    return text


def _list(values: list[Any]) -> str:
    kinds = set(map(type, values))
    if kinds == {float}:
        return _number(values).replace(" ", "")
    return _captions(tuple(values)) if kinds == {str} else _ENCODER.encode(values)


@lru_cache(1 << 14)
def _captions(values: tuple[str, ...]) -> str:
    return _ENCODER.encode(values)


_NAMES = sorted(Sample.__dataclass_fields__)
_VALUES = attrgetter(*_NAMES)
_KEYS = [("," if index else "{") + f'"{name}":' for index, name in enumerate(_NAMES)]
_WRITERS: dict[type, Callable[[Any], str]] = {
    str: json.encoder.encode_basestring,
    float: _number,
    list: _list,
    int: int.__repr__,
    bool: ("false", "true").__getitem__,
    type(None): lambda _: "null",
}


def members(sample: Sample, picture: bytes, row: bytes | None = None) -> tuple[tuple[bytes, bytes], ...]:
    """Name and content of a sample's members, in the order of the tar. `row` is its sidecar, made already."""
    key = sample.tile_id.encode("ascii")
    kind = b".jpg" if picture.startswith(JPEG_START) else b".png"
    text = sample.captions[0].encode("utf-8")
    return (key + b".json", row or sidecar(sample)), (key + kind, picture), (key + b".txt", text)


def packed_bytes(sample: Sample, sidecar_bytes: int, png_bytes: int) -> int:
    """How much a sample takes in a tar: three members."""
    lengths = (sidecar_bytes, png_bytes, len(sample.captions[0].encode("utf-8")))
    return sum(map(ustar.member_bytes, lengths))


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

    Threads read and check tiles ahead, while this one hashes and writes: hashing frees the interpreter, and a tile is
    read, hashed and written once. `sidecars` has the `json` members that are made already, by tile id.
    """
    total, size_bytes, extents = hashlib.sha256(), 0, Extents()
    syncs: list[Future[None]] = []
    num = min(CHUNK_SAMPLES, max(1, CHUNK_BYTES // len(read_checked_png(samples[0], read_png))))
    chunks = [samples[start : start + num] for start in range(0, len(samples), num)]
    with (
        atomic_write(path) as temporary,
        temporary.open("wb", buffering=0) as file,
        ThreadPoolExecutor(THREADS) as pool,
    ):
        for parts, places in ahead(pool, partial(_pack, read_png, sidecars), chunks, CHUNKS_AHEAD):
            num_bytes = _write(file.fileno(), parts, total)
            extents.update({tile_id: (size_bytes + start, length) for tile_id, start, length in places})
            if (size_bytes + num_bytes) // SYNC_BYTES > size_bytes // SYNC_BYTES:
                syncs.append(pool.submit(os.fdatasync, file.fileno()))
            size_bytes += num_bytes
        size_bytes += _write(file.fileno(), [ustar.end(size_bytes)], total)
        for sync in syncs:
            sync.result()
    return Tar(sha256=total.hexdigest(), size_bytes=size_bytes, extents=extents)


def _write(handle: int, parts: Sequence[bytes], total: hashlib._Hash) -> int:
    """Write parts, joining none, and hash them; the number of bytes. Raises OSError when the disk does not take all."""
    num_bytes = sum(map(len, parts))
    if os.writev(handle, parts) != num_bytes:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    for part in parts:
        total.update(part)
    return num_bytes


def _pack(
    read_png: ReadPng, sidecars: Mapping[str, bytes], samples: Sequence[Sample]
) -> tuple[list[bytes], list[tuple[str, int, int]]]:
    """Members of some samples in parts, small ones made one; and tile id, start and length of each picture in them."""
    parts: list[bytes] = []
    places, upto = [], 0
    for sample in samples:
        picture = read_checked_png(sample, read_png)
        for name, data in members(sample, picture, sidecars.get(sample.tile_id)):
            if data is picture:
                places.append((sample.tile_id, upto + ustar.BLOCK_BYTES, len(picture)))
            parts += ustar.member(name, data)
            upto += ustar.member_bytes(len(data))
    return (parts if upto > len(parts) * SMALL_BYTES else [b"".join(parts)]), places


def read_tar(path: Path) -> Tar:
    """A shard that an earlier, killed build has finished. Raises DatasetError when the file is no whole tar."""
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
