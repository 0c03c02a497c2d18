"""Read the tiles of a split as arrays of grey levels, in any order, from byte ranges of the shards."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

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
"""Number of tiles that are read together. An object store returns many byte ranges about as fast as a single one."""

Ints = npt.NDArray[np.int64]
GreyLevels = npt.NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True, eq=False)
class SplitTiles:
    """Samples of one split, in the order of the manifest, and methods to read the images.

    Attributes
    ----------
    place
        Folder or fsspec URL of the dataset.
    rows
        Manifest rows of the split, as an Arrow table.
    spans
        Byte range of each sample's image: address of the shard, offset and length.
    group_n
        Group number of each sample, shape (n,). Groups are numbered from 0 in the order of their ids.

    """

    place: str
    rows: pa.Table
    spans: Sequence[Span]
    group_n: Ints

    @property
    def num_groups(self) -> int:
        """Number of proposal groups in the split."""
        return int(self.group_n.max()) + 1 if len(self.rows) else 0

    @cached_property
    def captions(self) -> list[list[str]]:
        """Captions of each sample, the main caption first; there is at least one."""
        # Samples with equal captions share one list object, which saves memory, because abstracts are long.
        shared: dict[tuple[str, ...], list[str]] = {}
        return [shared.setdefault(tuple(captions), captions) for captions in self._lists("captions")]

    @property
    def main_captions(self) -> list[str]:
        """Main caption of each sample; see `Sample.main_caption`."""
        return [captions[0] for captions in self.captions]

    @cached_property
    def caption_kinds(self) -> list[tuple[str, ...]]:
        """Kinds of each sample's captions, without the names of rules or models: `summary` for `summary@rules-1.1`."""
        known: dict[tuple[str, ...], tuple[str, ...]] = {}
        return [
            known.setdefault(tuple(kinds), tuple(kind.partition("@")[0] for kind in kinds))
            for kinds in self._lists("caption_kinds")
        ]

    def _lists(self, column: str) -> Iterator[list[str]]:
        """Yield the list in each row of a column; only one chunk of the column is converted to lists at a time."""
        for chunk in self.rows[column].chunks:
            yield from chunk.to_pylist()

    def read_tiles(self, indices: Sequence[int] | Ints, size_px: int, out: GreyLevels | None = None) -> GreyLevels:
        """Read tiles and resize them to (n, size_px, size_px), into `out` if it is given."""
        out = np.empty((len(indices), size_px, size_px), np.uint8) if out is None else out
        files = open_storage(self.place).read_spans([self.spans[index] for index in indices])
        for position, (index, encoded) in enumerate(zip(indices, files, strict=True)):
            out[position] = self._decode(int(index), encoded, size_px)
        return out

    def _decode(self, index: int, encoded: bytes, size_px: int) -> GreyLevels:
        """Decode one image and resize it to (size_px, size_px); `index` identifies the tile in an error message."""
        try:
            return decode_resized(encoded, size_px)
        except (OSError, SyntaxError, ValueError) as error:
            shard = self.spans[index][0]
            # If the shard is in the folder of an older dataset, the message names the folders of both datasets.
            # Both must be deleted, because the next build can reuse the shard from either dataset.
            folders = " and ".join(dict.fromkeys((shard.rpartition("/")[0], self.place)))
            raise DatasetError(
                f"tile {self.rows['tile_id'][index]} in {shard} is damaged: "
                f"delete {folders} and run `hubbleclip shards` again"
            ) from error

    def read_all_tiles(self, size_px: int) -> GreyLevels:
        """Read and resize all tiles of the split to (n, size_px, size_px), with `DECODE_THREADS` threads."""
        out = np.empty((len(self.rows), size_px, size_px), dtype=np.uint8)

        def fill(start: int) -> None:
            stop = min(start + TILES_PER_READ, len(out))
            self.read_tiles(range(start, stop), size_px, out[start:stop])

        with ThreadPoolExecutor(DECODE_THREADS) as pool:
            # `list` waits for all threads and raises the first error that occurred in one of them.
            list(pool.map(fill, range(0, len(out), TILES_PER_READ)))
        return out


def decode_resized(encoded: bytes, size_px: int) -> GreyLevels:
    """Decode a tile and resize it to (size_px, size_px). Raises OSError, SyntaxError or ValueError, as Pillow does."""
    image_yx = decode_own_png(encoded)  # fast decoder; None if this project's encoder did not write the file
    if image_yx is not None and image_yx.shape == (size_px, size_px):
        return image_yx
    if image_yx is not None:
        return resized(Image.fromarray(image_yx), size_px)
    # Formats other than PNG and JPEG are rejected, because the shards contain none.
    return resized(Image.open(io.BytesIO(encoded), formats=["PNG", "JPEG"]).convert("L"), size_px)


def resized(image: Image.Image, size_px: int) -> GreyLevels:
    """Resize an image to (size_px, size_px): larger images by area averages, smaller ones by bicubic interpolation."""
    if image.size == (size_px, size_px):
        return np.asarray(image)
    is_downsampled = min(image.size) >= size_px
    kernel = Image.Resampling.BOX if is_downsampled else Image.Resampling.BICUBIC
    return np.asarray(image.resize((size_px, size_px), kernel))


def open_split(info: DatasetInfo, split: str) -> SplitTiles:
    """Open the samples of a split."""
    return open_rows(info, info.manifest.filter(pc.field("split") == split))


def open_rows(info: DatasetInfo, table: pa.Table) -> SplitTiles:
    """Open the samples in the given rows of a dataset's manifest, which may be from several splits."""
    _, group_n = np.unique(np.asarray(table["group_id"].to_pylist(), dtype=str), return_inverse=True)
    return SplitTiles(place=info.path, rows=table, spans=info.image_spans(table), group_n=group_n.astype(np.int64))
