"""Read the tiles of a split as grey levels, from their byte ranges in the shards and in any order."""

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
from hubbleclip.dataset.storage import Span, open_storage
from hubbleclip.images.encode import decode_own_png

DECODE_THREADS = 4
TILES_PER_READ = 64
"""Tiles per read: an object store serves many byte ranges in the time of one."""

ROWS_PER_BATCH = 1024
"""Manifest rows converted to dicts at a time while iterating."""

Ints = npt.NDArray[np.int64]
GreyLevels = npt.NDArray[np.uint8]


class ManifestRows(Sequence[dict[str, Any]]):
    """Rows of the manifest as dicts, converted on access: a million dicts would fill the memory."""

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
        for batch in self.table.to_batches(max_chunksize=ROWS_PER_BATCH):
            yield from batch.to_pylist()


@dataclass(frozen=True, kw_only=True, eq=False)
class SplitTiles:
    """Samples of one split in the order of the manifest, and their pixels.

    Attributes
    ----------
    place
        Folder or fsspec URL of the dataset.
    rows
        Rows of the manifest.
    spans
        Byte range of each image.
    group_n
        Group number of each sample, counted in order of group id.

    """

    place: str
    rows: ManifestRows
    spans: Sequence[Span]
    group_n: Ints

    @property
    def num_groups(self) -> int:
        """Number of proposal groups in the split."""
        return int(self.group_n.max()) + 1 if len(self.rows) else 0

    @cached_property
    def captions(self) -> list[list[str]]:
        """Captions of each sample, the main one first; tiles of one proposal share a list."""
        shared: dict[tuple[str, ...], list[str]] = {}  # one list per proposal saves most of the memory of abstracts
        return [
            shared.setdefault(tuple(captions), captions)
            for chunk in self.rows.table["captions"].chunks
            for captions in chunk.to_pylist()
        ]

    def read_one_tile(self, index: int, size_px: int) -> GreyLevels:
        """Read one tile.

        Parameters
        ----------
        index
            Position in the split.
        size_px
            Side of the result.

        Returns
        -------
        GreyLevels
            Shape (size_px, size_px), downsampled by area.

        """
        image_yx: GreyLevels = self.read_tiles([index], size_px)[0]
        return image_yx

    def read_tiles(self, indices: Sequence[int] | Ints, size_px: int, out: GreyLevels | None = None) -> GreyLevels:
        """Read tiles; DatasetError names the first one that cannot be decoded.

        Parameters
        ----------
        indices
            Positions in the split, in any order.
        size_px
            Side of the result.
        out
            Array (n, size_px, size_px) to fill; a new one by default.

        Returns
        -------
        GreyLevels
            Shape (n, size_px, size_px), in the order of `indices`.

        """
        out = np.empty((len(indices), size_px, size_px), np.uint8) if out is None else out
        files = open_storage(self.place).read_spans([self.spans[index] for index in indices])
        for position, (index, encoded) in enumerate(zip(indices, files, strict=True)):
            out[position] = self._decode(int(index), encoded, size_px)
        return out

    def _decode(self, index: int, encoded: bytes, size_px: int) -> GreyLevels:
        """Decode and resize one image (size_px, size_px); `index` names it in the error."""
        image_yx = decode_own_png(encoded)  # the fast path; None for files that this project's encoder did not write
        if image_yx is not None and image_yx.shape == (size_px, size_px):
            return image_yx
        try:
            image = Image.fromarray(image_yx) if image_yx is not None else _decode_with_pillow(encoded)
        except (OSError, SyntaxError, ValueError) as error:  # the three that Pillow raises for damaged bytes
            address = self.spans[index][0]
            raise DatasetError(
                f"tile {self.rows[index]['tile_id']} in {address} is damaged: delete {self.place} and build again"
            ) from error
        return _resized(image, size_px)

    def read_all_tiles(self, size_px: int) -> GreyLevels:
        """Read every tile of the split with `DECODE_THREADS` threads.

        Parameters
        ----------
        size_px
            Side of the result.

        Returns
        -------
        GreyLevels
            Shape (n, size_px, size_px).

        """
        out = np.empty((len(self.rows), size_px, size_px), dtype=np.uint8)

        def fill(start: int) -> None:
            stop = min(start + TILES_PER_READ, len(out))
            self.read_tiles(range(start, stop), size_px, out[start:stop])

        with ThreadPoolExecutor(DECODE_THREADS) as pool:
            list(pool.map(fill, range(0, len(out), TILES_PER_READ)))  # list() raises the first error of a thread
        return out


def _decode_with_pillow(encoded: bytes) -> Image.Image:
    """Decode a PNG or a JPEG; other formats are refused because their decoders are not needed."""
    return Image.open(io.BytesIO(encoded), formats=["PNG", "JPEG"]).convert("L")


def _resized(image: Image.Image, size_px: int) -> GreyLevels:
    """Resize to a square: by area when downsampling, bicubic when upsampling."""
    if image.size == (size_px, size_px):
        return np.asarray(image)
    is_downsampled = min(image.size) >= size_px
    kernel = Image.Resampling.BOX if is_downsampled else Image.Resampling.BICUBIC
    return np.asarray(image.resize((size_px, size_px), kernel))


def open_split(info: DatasetInfo, split: str) -> SplitTiles:
    """Open the samples of a split.

    Parameters
    ----------
    info
        Open dataset.
    split
        `train`, `val` or `test`.

    Returns
    -------
    SplitTiles
        In order of tile id; empty for an empty split.

    """
    table = info.manifest.filter(pc.field("split") == split)
    _, group_n = np.unique(np.asarray(table["group_id"].to_pylist(), dtype=str), return_inverse=True)
    return SplitTiles(
        place=info.path, rows=ManifestRows(table), spans=info.image_spans(table), group_n=group_n.astype(np.int64)
    )
