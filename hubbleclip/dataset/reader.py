"""The tiles of a split as grey levels, read from their places in the shards in any order."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from hubbleclip.core.errors import DatasetError
from hubbleclip.dataset.manifest import DatasetInfo
from hubbleclip.dataset.storage import Span, storage_of
from hubbleclip.images.encode import decode_own_png

DECODERS = 4
READ_TILES = 64
"""Tiles asked for at once: a service behind a URL answers many ranges in the time of one."""

Ints = npt.NDArray[np.int64]
Levels = npt.NDArray[np.uint8]


class Rows(Sequence[dict[str, Any]]):
    """Rows of the manifest as dicts, made when they are asked for: a million of them would fill the memory."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self.table.slice(index, 1).to_pylist()[0]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for batch in self.table.to_batches(max_chunksize=1024):
            yield from batch.to_pylist()


@dataclass(frozen=True, kw_only=True, eq=False)
class SplitTiles:
    """The samples of one split in manifest order, and their pixels. `group_n` numbers the groups in order of id."""

    place: str
    rows: Rows
    spans: Sequence[Span]
    group_n: Ints

    @property
    def num_groups(self) -> int:
        """Proposal groups of the split."""
        return int(self.group_n.max()) + 1 if len(self.rows) else 0

    @cached_property
    def captions(self) -> list[list[str]]:
        """Captions of each sample, the main one first; tiles of one proposal share them."""
        shared: dict[tuple[str, ...], list[str]] = {}
        return [
            shared.setdefault(tuple(captions), captions)
            for chunk in self.rows.table["captions"].chunks
            for captions in chunk.to_pylist()
        ]

    def read_levels(self, index: int, size_px: int) -> Levels:
        """One tile (size_px, size_px), reduced by area. Raises DatasetError when its bytes are no picture."""
        levels_yx: Levels = self.read_many([index], size_px)[0]
        return levels_yx

    def read_many(self, indices: Sequence[int] | Ints, size_px: int, out: Levels | None = None) -> Levels:
        """Tiles (n, size_px, size_px), in the order asked for; into `out` where it is given."""
        out = np.empty((len(indices), size_px, size_px), np.uint8) if out is None else out
        pictures = storage_of(self.place).read_spans([self.spans[index] for index in indices])
        for place, (index, picture) in enumerate(zip(indices, pictures, strict=True)):
            out[place] = self._levels(int(index), picture, size_px)
        return out

    def _levels(self, index: int, picture: bytes, size_px: int) -> Levels:
        levels_yx = decode_own_png(picture)
        if levels_yx is not None and levels_yx.shape == (size_px, size_px):
            return levels_yx
        try:
            image = Image.fromarray(levels_yx) if levels_yx is not None else _opened(picture)
        except (OSError, SyntaxError, ValueError) as error:  # all that Pillow says of damaged bytes
            address = self.spans[index][0]
            raise DatasetError(
                f"tile {self.rows[index]['tile_id']} in {address} is damaged: delete {self.place} and build again"
            ) from error
        return _resized(image, size_px)

    def read_all(self, size_px: int) -> Levels:
        """Every tile of the split (n, size_px, size_px), decoded by threads."""
        out = np.empty((len(self.rows), size_px, size_px), dtype=np.uint8)

        def fill(start: int) -> None:
            stop = min(start + READ_TILES, len(out))
            self.read_many(range(start, stop), size_px, out[start:stop])

        with ThreadPoolExecutor(DECODERS) as pool:
            list(pool.map(fill, range(0, len(out), READ_TILES)))
        return out


def _opened(picture: bytes) -> Image.Image:
    return Image.open(io.BytesIO(picture), formats=["PNG", "JPEG"]).convert("L")


def _resized(image: Image.Image, size_px: int) -> Levels:
    if image.size == (size_px, size_px):
        return np.asarray(image)
    by_area = min(image.size) >= size_px
    kernel = Image.Resampling.BOX if by_area else Image.Resampling.BICUBIC
    return np.asarray(image.resize((size_px, size_px), kernel))


def open_split(info: DatasetInfo, split: str) -> SplitTiles:
    """The samples of a split, in the manifest's order: by tile id."""
    table = info.manifest.filter(pc.field("split") == split)
    _, group_n = np.unique(np.asarray(table["group_id"].to_pylist(), dtype=str), return_inverse=True)
    return SplitTiles(place=info.path, rows=Rows(table), spans=info.spans(table), group_n=group_n.astype(np.int64))
