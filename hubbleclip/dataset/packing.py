"""Samples into tars: in which order, where to cut, and the same bytes on every machine."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hubbleclip.errors import DatasetError
from hubbleclip.files import replacing, sha256_bytes
from hubbleclip.records import Sample, to_row

OWNER = "hubbleclip"
PICTURES = (".png", ".jpg")
JPEG_START = b"\xff\xd8"
BLOCK_BYTES = tarfile.BLOCKSIZE
END_BYTES = tarfile.RECORDSIZE
"""A tar ends in zeros up to the next whole record, so this is the most that its end can add."""

ReadPng = Callable[[str], bytes]
Extents = dict[str, tuple[int, int]]


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
    places = [
        ((index + unit_hash(group_id)) / len(members), sample.tile_id, sample)
        for group_id, members in groups.items()
        for index, sample in enumerate(members)
    ]
    return [sample for _, _, sample in sorted(places, key=lambda place: place[:2])]


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
    """The `json` member: the sample's row, as the manifest and the catalog have it."""
    return canonical_json(to_row(sample))


def packed_bytes(sample: Sample, png_bytes: int) -> int:
    """How much a sample takes in a tar: a header and whole blocks for each of its three members."""
    lengths = (len(sidecar(sample)), png_bytes, len(sample.captions[0].encode("utf-8")))
    return sum(BLOCK_BYTES + -(-length // BLOCK_BYTES) * BLOCK_BYTES for length in lengths)


def read_checked_png(sample: Sample, read_png: ReadPng) -> bytes:
    """A tile's bytes. Raises DatasetError when they are missing or are not those that the catalog describes."""
    try:
        png = read_png(sample.tile_id)
    except OSError as error:
        raise DatasetError(f"tile {sample.tile_id} cannot be read ({error}): run `hubbleclip tiles` again") from error
    if sha256_bytes(png) != sample.png_sha256:
        raise DatasetError(f"tile {sample.tile_id} is damaged: delete its PNG and run `hubbleclip tiles` again")
    return png


def write_tar(path: Path, samples: Sequence[Sample], read_png: ReadPng) -> None:
    """Write one shard, atomically. The bytes depend on samples and PNGs alone: no times, owners or paths."""
    with (
        replacing(path) as temporary,
        tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT, encoding="utf-8") as tar,
    ):
        for sample in samples:
            picture = read_checked_png(sample, read_png)
            kind = "jpg" if picture.startswith(JPEG_START) else "png"
            members = {"json": sidecar(sample), kind: picture, "txt": sample.captions[0].encode("utf-8")}
            for suffix, data in members.items():
                tar.addfile(_member(f"{sample.tile_id}.{suffix}", len(data)), io.BytesIO(data))


def _member(name: str, size_bytes: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mtime, member.mode = size_bytes, 0, 0o644
    member.uid = member.gid = 0
    member.uname = member.gname = OWNER
    return member


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
