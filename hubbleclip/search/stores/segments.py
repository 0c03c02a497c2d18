"""The files of the embedded vector store: immutable segments of rows, and a manifest that lists them.

A segment is a range of rows in three files: `.parquet` (columns `tile_id`, `model_digest`, `feature` as float16) for
any reader, `.f16` with the same features row after row, and `.i8` with their codes, steps and errors, which are read
into memory. Nothing but the manifest is ever replaced, and no file is changed in place, so that open files stay valid.

Codes are features as one byte per dimension, with a bound of the error that this causes in each similarity. Before
rounding, a feature is rotated by random signs and a discrete cosine transform, which keeps all similarities. The
rotation spreads a large value in one dimension, which features of CLIP models have, over all dimensions; without it,
that value would make the steps of the other dimensions coarse.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from scipy.fft import dct

from hubbleclip.core.errors import DamagedIndexError, SearchError
from hubbleclip.core.io import atomic_write, sha256_bytes, sha256_file, sync_files, write_bytes
from hubbleclip.core.layout import segment_name
from hubbleclip.dataset.manifest import description_bytes
from hubbleclip.search.stores.base import ID_TYPE, read_intact

MANIFEST = "index.json"
PARQUET, FLOATS, CODES = ".parquet", ".f16", ".i8"
QUANTISE_ROWS = 16_384
"""Rows that are quantised at once, which bounds the memory."""
MAX_CODE = 127
SIGN_SEED = 20_080_311
ROUNDING = 1e-5
"""Upper bound of what float32 arithmetic adds to the error of a similarity."""


class Codes(NamedTuple):
    """Quantised features: `codes_nd * scale_n[:, None]` differs from the rotated feature by at most `error_n`."""

    codes_nd: npt.NDArray[np.int8]
    scale_n: npt.NDArray[np.float32]
    error_n: npt.NDArray[np.float32]


def quantise(feat_nd: npt.NDArray[np.floating]) -> Codes:
    """Rotate and round features."""
    rotated_nd = dct(feat_nd.astype(np.float32) * _signs(feat_nd.shape[1]), norm="ortho", axis=1)
    scale_n = np.maximum(np.abs(rotated_nd).max(axis=1), np.finfo(np.float32).tiny) / np.float32(MAX_CODE)
    codes_nd = np.rint(rotated_nd / scale_n[:, None]).astype(np.int8)
    error_n = np.linalg.norm(rotated_nd - codes_nd * scale_n[:, None], axis=1)
    return Codes(codes_nd, scale_n, error_n.astype(np.float32))


def error_bound(error_n: npt.NDArray[np.float32], query_error: float) -> npt.NDArray[np.float32]:
    """Bound the error of similarities that are computed from codes.

    For a feature x and a query q of length 1 with codes x' and q', the Cauchy-Schwarz inequality gives
    |x.q - x'.q'| <= |x - x'| |q| + |x'| |q - q'|, and |x'| <= 1 + |x - x'|.
    """
    bound_n: npt.NDArray[np.float32] = error_n * np.float32(1 + query_error) + np.float32(query_error + ROUNDING)
    return bound_n


@lru_cache(8)
def _signs(num_dims: int) -> npt.NDArray[np.float32]:
    """Draw one sign per dimension."""
    return np.random.default_rng(SIGN_SEED).choice(np.array([-1, 1], np.float32), num_dims)


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentFacts:
    """What the manifest says of a segment: its rows, from `start` to `stop` (exclusive), and the hash of each file."""

    start: int
    stop: int
    sha256: dict[str, str]

    @property
    def num_rows(self) -> int:
        """Number of rows."""
        return self.stop - self.start

    @property
    def key(self) -> str:
        """Text that is the same only for the same rows with the same features."""
        return f"{self.start} {self.sha256[PARQUET]}"

    def path(self, folder: Path, suffix: str) -> Path:
        """Path of one of the files."""
        return folder / f"{segment_name(self.start, self.stop)}{suffix}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The segments of an index in the order of their rows, the number of dimensions, and the digest of the model."""

    model_digest: str
    num_dims: int
    segments: tuple[SegmentFacts, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Segment:
    """An open segment: its first row, its ids, the open file of its features, and its codes."""

    start: int
    tile_ids: pa.Array
    floats: BinaryIO
    codes: Codes

    @property
    def num_rows(self) -> int:
        """Number of rows."""
        return len(self.tile_ids)

    def is_whole(self) -> bool:
        """Whether the file of features was not truncated since it was opened."""
        size = self.codes.codes_nd.size * np.dtype(np.float16).itemsize
        return os.fstat(self.floats.fileno()).st_size >= size

    def read(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float16]:
        """Read features."""
        # Reading scattered rows from a mapped file would take seven times as long and map at least 64 KiB per row.
        num_dims = self.codes.codes_nd.shape[1]
        size, descriptor = num_dims * np.dtype(np.float16).itemsize, self.floats.fileno()
        content = b"".join([os.pread(descriptor, size, size * row) for row in rows.tolist()])
        if len(content) != len(rows) * size:
            raise DamagedIndexError(f"{self.floats.name} is damaged: {rebuild_hint(Path(self.floats.name).parent)}")
        return np.frombuffer(content, np.float16).reshape(len(rows), num_dims)


def read_manifest(folder: Path) -> Manifest | None:
    """Read the manifest of an index."""
    try:
        facts = read_intact(folder / MANIFEST, rebuild_hint(folder))
    except FileNotFoundError:
        return None
    segments = tuple(SegmentFacts(**one) for one in facts["segments"])
    return Manifest(model_digest=facts["model_digest"], num_dims=facts["num_dims"], segments=segments)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Replace the manifest atomically, then delete the files that it does not list."""
    write_bytes(folder / MANIFEST, description_bytes(asdict(manifest)))
    kept = {one.path(folder, suffix) for one in manifest.segments for suffix in one.sha256} | {folder / MANIFEST}
    for path in folder.iterdir():
        if path not in kept and path.is_file():
            path.unlink()  # a reader that has opened the file can still read it


def write_segment(
    folder: Path, model_digest: str, start: int, tile_ids: pa.Array, feat_nd: npt.NDArray[np.float16]
) -> SegmentFacts:
    """Write the files of a segment."""
    num_rows, num_dims = feat_nd.shape
    feat_nd = np.ascontiguousarray(feat_nd)
    facts = SegmentFacts(start=start, stop=start + num_rows, sha256={})
    feature = pa.FixedSizeListArray.from_arrays(pa.array(feat_nd.ravel()), num_dims)
    model = pa.DictionaryArray.from_arrays(pa.array(np.zeros(num_rows, np.int32)), pa.array([model_digest]))
    columns = {"tile_id": tile_ids, "model_digest": model, "feature": feature}
    schema = pa.schema({"tile_id": pa.string(), "model_digest": pa.string(), "feature": feature.type})
    table = pa.table(columns).cast(schema)
    with atomic_write(facts.path(folder, PARQUET), is_synced=False) as temporary:
        # Features do not compress; the checksums let a reader of `tile_id` notice damage without reading the rest.
        pq.write_table(
            table,
            temporary,
            compression={"tile_id": "zstd", "model_digest": "zstd"},
            use_dictionary=["model_digest"],
            write_page_checksum=True,
        )
    with atomic_write(facts.path(folder, FLOATS), is_synced=False) as temporary:
        feat_nd.tofile(temporary)
    parts = [quantise(feat_nd[first : first + QUANTISE_ROWS]) for first in range(0, num_rows, QUANTISE_ROWS)]
    with atomic_write(facts.path(folder, CODES), is_synced=False) as temporary, temporary.open("wb") as file:
        for arrays in zip(*parts, strict=True):  # all codes, then all steps, then all errors
            for array in arrays:
                file.write(array.data)
    paths = {suffix: facts.path(folder, suffix) for suffix in (PARQUET, FLOATS, CODES)}
    sync_files(paths.values())
    facts.sha256.update({suffix: sha256_file(path) for suffix, path in paths.items()})
    return facts


def open_segment(folder: Path, facts: SegmentFacts, num_dims: int) -> Segment:
    """Open the files of a segment; the Parquet file is checked by page checksums, the others by their hashes."""
    paths = {suffix: facts.path(folder, suffix) for suffix in facts.sha256}
    try:
        coded = paths[CODES].read_bytes()
        for suffix, sha256 in ((FLOATS, sha256_file(paths[FLOATS])), (CODES, sha256_bytes(coded))):
            if sha256 != facts.sha256[suffix]:
                raise SearchError(f"{paths[suffix]} is damaged: {rebuild_hint(folder)}")
        ids = pq.read_table(paths[PARQUET], columns=["tile_id"], page_checksum_verification=True, memory_map=False)
        floats = paths[FLOATS].open("rb")
    except FileNotFoundError as error:
        raise SearchError(f"{error.filename or paths[PARQUET]} is missing: {rebuild_hint(folder)}") from error
    except (OSError, pa.ArrowException) as error:
        raise SearchError(f"{paths[PARQUET]} is damaged: {rebuild_hint(folder)}") from error
    shape, num_codes = (facts.num_rows, num_dims), facts.num_rows * num_dims
    codes, steps, errors = np.split(np.frombuffer(coded, np.uint8), [num_codes, num_codes + 4 * facts.num_rows])
    return Segment(
        start=facts.start,
        tile_ids=ids["tile_id"].cast(ID_TYPE).combine_chunks(),
        floats=floats,
        codes=Codes(codes.view(np.int8).reshape(shape), steps.view(np.float32), errors.view(np.float32)),
    )


def rebuild_hint(folder: Path) -> str:
    """Say how to rebuild a damaged index."""
    return f"delete {folder} and run `hubbleclip index`"


def merge_tail(segments: Sequence[SegmentFacts], num_new: int, max_rows: int) -> int:
    """Choose how many of the last segments are merged with new rows, so that segments stay few and old
    ones unchanged.
    """
    num_merged = 0
    for facts in reversed(segments):
        if facts.num_rows > num_new or facts.num_rows + num_new > max_rows:
            break
        num_new += facts.num_rows
        num_merged += 1
    return num_merged
