"""The vector store of one machine: files of features, and an exact search that first scans one-byte codes.

A code is a feature that is quantised to one byte per dimension. Each code has a step (the scale of its integers) and an
error (its distance from the feature), which bounds the error of each similarity. Before quantisation, a feature is
rotated by random signs and a discrete cosine transform, which keep all similarities. The reason is that features of
CLIP models can have a large value in one dimension, which would make the step coarse. The rotation spreads this value
over all dimensions.

The scan computes the similarity of every admitted row from its code, with a lower and an upper bound. The k rows with
the largest upper bounds are scored again from their float16 features. A row whose upper bound is below the lowest of
these k scores cannot be among the best k. All other rows are scored again too. The result is therefore exact for every
filter, and pages of a result never overlap.

The files are a manifest and the immutable segments that it lists. A segment is a range of rows in three files. The
`.parquet` file (columns `tile_id`, `model_digest`, `feature` as float16) is for any reader. The `.f16` file has the
same features row after row. The `.i8` file has their codes, steps and errors, and is mapped into memory. Only the
manifest is ever replaced, and no file is changed in place, so that open files stay valid.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numkong
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from scipy.fft import dct

from hubbleclip.core.errors import DamagedIndexError, SearchError, machine_error
from hubbleclip.core.io import atomic_write, locked, sha256_file, sync_files, write_bytes
from hubbleclip.core.layout import segment_name
from hubbleclip.core.vectors import unit
from hubbleclip.dataset.manifest import description_bytes
from hubbleclip.search.stores.base import ID_TYPE, Floats, Mask, Scored, best_rows, file_stamp, read_intact, rows_of

MANIFEST = "index.json"
PARQUET, FLOATS, CODES = ".parquet", ".f16", ".i8"
FORMAT = 1
QUANTISE_ROWS = 16_384
"""Maximum number of rows per call of `quantise`, which bounds the memory."""
MAX_CODE = 127
SIGN_SEED = 20_080_311
ROUNDING = 1e-5
"""Upper bound of the error of a similarity due to float32 rounding, in addition to the quantisation error."""
MAX_SEGMENT_ROWS = 131_072
"""Maximum number of rows of a merged segment, which bounds the time and the memory of an append."""
BLOCK_ROWS = 65_536
"""Maximum number of rows per block of a scan; the scores of a block stay in the processor's cache."""
EXACT_ROWS = 2048
"""If at most this number of rows is admitted, all of them are scored exactly, without a scan of the codes."""
GATHER_SHARE = 1 / 8
"""If less than this share of a block's rows is admitted, the scan reads only the codes of the admitted rows."""
RESCORE_ROWS = 4096
"""Maximum number of rows whose float16 features are read together, which bounds the memory."""
SCORE_DECIMALS = 9
"""Decimals to which a score is rounded, so that equal features get equal scores despite rounding errors."""
NUM_TRIES = 5


class Codes(NamedTuple):
    """Quantised features: `error_n` is the distance between `codes_nd * scale_n[:, None]` and the rotated features."""

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
    return np.asarray(error_n * np.float32(1 + query_error) + np.float32(query_error + ROUNDING))


@lru_cache(8)
def _signs(num_dims: int) -> npt.NDArray[np.float32]:
    """Draw one sign per dimension."""
    return np.random.default_rng(SIGN_SEED).choice(np.array([-1, 1], np.float32), num_dims)


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentFacts:
    """Entry of a segment in the manifest: its rows from `start` to `stop` (exclusive), and the hash of each file."""

    start: int
    stop: int
    sha256: dict[str, str]

    @property
    def num_rows(self) -> int:
        """Number of rows."""
        return self.stop - self.start

    @property
    def key(self) -> str:
        """Text that identifies the rows and features of a segment."""
        return f"{self.start} {self.sha256[PARQUET]}"

    def path(self, folder: Path, suffix: str) -> Path:
        """Path of the segment's file with a suffix, such as `.i8`."""
        return folder / f"{segment_name(self.start, self.stop)}{suffix}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The segments of an index in the order of their rows, the number of dimensions, and the digest of the model."""

    model_digest: str
    num_dims: int
    segments: tuple[SegmentFacts, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Segment:
    """An open segment: its first row, its ids, the open file of its features, and its codes, mapped into memory."""

    start: int
    tile_ids: pa.Array
    floats: BinaryIO
    coded: mmap
    codes: Codes

    @property
    def num_rows(self) -> int:
        """Number of rows."""
        return len(self.tile_ids)

    def is_whole(self) -> bool:
        """Whether the file of features and the file of codes still have their full sizes."""
        size = self.codes.codes_nd.size * np.dtype(np.float16).itemsize
        return os.fstat(self.floats.fileno()).st_size >= size and self.coded.size() >= len(self.coded)

    def check_codes(self) -> None:
        """Raise DamagedIndexError if the file of codes was truncated: reading it would kill the process (SIGBUS)."""
        if self.coded.size() < len(self.coded):
            path = Path(self.floats.name).with_suffix(CODES)
            raise DamagedIndexError(f"{path} is damaged: {rebuild_hint(path.parent)}")

    def read(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float16]:
        """Read features."""
        # For scattered rows, `pread` is seven times faster than a memory map, which would map at least 64 KiB per row.
        num_dims = self.codes.codes_nd.shape[1]
        size, descriptor = num_dims * np.dtype(np.float16).itemsize, self.floats.fileno()
        content = b"".join([os.pread(descriptor, size, size * row) for row in rows.tolist()])
        if len(content) != len(rows) * size:
            raise DamagedIndexError(f"{self.floats.name} is damaged: {rebuild_hint(Path(self.floats.name).parent)}")
        return np.frombuffer(content, np.float16).reshape(len(rows), num_dims)


def read_manifest(folder: Path) -> Manifest | None:
    """Read the manifest of an index."""
    try:
        return read_intact(folder / MANIFEST, rebuild_hint(folder), _parse_manifest)
    except FileNotFoundError:
        return None


def _parse_manifest(facts: dict[str, Any]) -> Manifest:
    """Convert the content of a manifest; ValueError, KeyError or TypeError if its format is unknown."""
    if facts["format"] != FORMAT:
        raise ValueError(f"format {facts['format']}, this hubbleclip reads {FORMAT}")
    segments = tuple(SegmentFacts(**one) for one in facts["segments"])
    return Manifest(model_digest=facts["model_digest"], num_dims=facts["num_dims"], segments=segments)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Replace the manifest atomically, then delete the files that it does not list."""
    write_bytes(folder / MANIFEST, description_bytes({"format": FORMAT} | asdict(manifest)))
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
        # Features are not compressible. Page checksums reveal damage even if only the column `tile_id` is read.
        pq.write_table(
            table,
            temporary,
            compression={"tile_id": "zstd", "model_digest": "zstd"},
            use_dictionary=["model_digest"],
            write_page_checksum=True,
        )
    write_bytes(facts.path(folder, FLOATS), feat_nd.tobytes(), is_synced=False)
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
    """Open the files of a segment; page checksums verify the ids, and hashes verify the `.f16` and `.i8` files."""
    paths = {suffix: facts.path(folder, suffix) for suffix in facts.sha256}
    try:
        for suffix in (FLOATS, CODES):
            if sha256_file(paths[suffix]) != facts.sha256[suffix]:
                raise SearchError(f"{paths[suffix]} is damaged: {rebuild_hint(folder)}")
        ids = pq.read_table(paths[PARQUET], columns=["tile_id"], page_checksum_verification=True, memory_map=False)
        floats = paths[FLOATS].open("rb")
        with paths[CODES].open("rb") as file:
            coded = mmap(file.fileno(), 0, access=ACCESS_READ)
    except FileNotFoundError as error:
        raise SearchError(f"{error.filename or paths[PARQUET]} is missing: {rebuild_hint(folder)}") from error
    except (OSError, pa.ArrowException) as error:
        damaged = SearchError(f"{paths[PARQUET]} is damaged: {rebuild_hint(folder)}")
        raise machine_error(error, paths[PARQUET]) or damaged from error
    shape, num_codes = (facts.num_rows, num_dims), facts.num_rows * num_dims
    parts = np.split(np.frombuffer(coded, np.uint8), [num_codes, num_codes + 4 * facts.num_rows])
    codes = Codes(parts[0].view(np.int8).reshape(shape), parts[1].view(np.float32), parts[2].view(np.float32))
    tile_ids = ids["tile_id"].cast(ID_TYPE).combine_chunks()
    return Segment(start=facts.start, tile_ids=tile_ids, floats=floats, coded=coded, codes=codes)


def rebuild_hint(folder: Path) -> str:
    """Say how to rebuild a damaged index."""
    return f"delete {folder} and run `hubbleclip index`"


def merge_tail(segments: Sequence[SegmentFacts], num_new: int, max_rows: int) -> int:
    """Choose how many of the last segments to merge with new rows, so that the index has few segments."""
    num_merged = 0
    for facts in reversed(segments):
        if facts.num_rows > num_new or facts.num_rows + num_new > max_rows:
            break
        num_new += facts.num_rows
        num_merged += 1
    return num_merged


class EmbeddedStore:
    """Vector store in a folder of this machine; see `VectorStore`.

    Parameters
    ----------
    folder
        Folder of the index; it may be empty or missing.
    model_digest
        Digest of the model whose features are stored.

    Raises
    ------
    SearchError
        If a file is damaged, or the index belongs to another model.

    """

    def __init__(self, folder: Path, model_digest: str) -> None:
        self.folder = folder
        self.model_digest = model_digest
        self._pool = ThreadPoolExecutor(num_cores())
        self._segments: dict[str, Segment] = {}
        self._load()

    def _load(self) -> None:
        """Open the segments of the manifest that are not open yet.

        If a file is missing because another process has replaced the manifest, the manifest is read again.
        """
        for _ in range(NUM_TRIES):
            self._stamp = file_stamp(self.folder / MANIFEST)
            manifest = read_manifest(self.folder)
            self._manifest = manifest or Manifest(model_digest=self.model_digest, num_dims=0, segments=())
            if self._manifest.model_digest != self.model_digest:
                raise SearchError(f"{self.folder} belongs to another model: {rebuild_hint(self.folder)}")
            try:
                opened = list(self._pool.map(self._open, self._manifest.segments))
                break
            except SearchError:
                if self.is_current():
                    raise
        else:
            raise SearchError(f"{self.folder} is written too often to be read: try again later")
        self.tile_ids = pa.concat_arrays([pa.array([], ID_TYPE), *(one.tile_ids for one in opened)])
        self._segments = {  # all segments use slices of one array of ids, to save memory
            facts.key: replace(one, tile_ids=self.tile_ids.slice(one.start, one.num_rows))
            for facts, one in zip(self._manifest.segments, opened, strict=True)
        }

    def _open(self, facts: SegmentFacts) -> Segment:
        """Open a segment unless it is open."""
        return self._segments.get(facts.key) or open_segment(self.folder, facts, self._manifest.num_dims)

    def is_current(self) -> bool:
        """Whether this object shows all rows of the store, and no open file is truncated."""
        # Repairing a truncated file does not change the manifest. Only opening the store again finds the repaired file.
        return file_stamp(self.folder / MANIFEST) == self._stamp and self.is_whole()

    def is_whole(self) -> bool:
        """Whether all open files still have their full size."""
        return all(segment.is_whole() for segment in self._segments.values())

    def close(self) -> None:
        """Release files and memory."""
        self._pool.shutdown()
        for segment in self._segments.values():
            segment.floats.close()
        self._segments = {}

    def append(self, tile_ids: Sequence[str], feat_nd: npt.NDArray[np.floating]) -> None:
        """Add rows as a new segment; small segments at the end of the store are merged into the new segment."""
        with locked(self.folder):
            if not self.is_current():
                self._load()
            check_new_rows(self.tile_ids, tile_ids, feat_nd, self._manifest.num_dims)
            if not tile_ids:
                return
            old = self._manifest.segments
            kept = old[: len(old) - merge_tail(old, len(tile_ids), MAX_SEGMENT_ROWS)]
            merged = [self._segments[facts.key] for facts in old[len(kept) :]]
            ids = pa.concat_arrays([*(segment.tile_ids for segment in merged), pa.array(tile_ids, ID_TYPE)])
            old_nd = [segment.read(np.arange(segment.num_rows)) for segment in merged]
            halves_nd = np.concatenate([*old_nd, feat_nd.astype(np.float16)])
            new = write_segment(self.folder, self.model_digest, kept[-1].stop if kept else 0, ids, halves_nd)
            manifest = Manifest(model_digest=self.model_digest, num_dims=halves_nd.shape[1], segments=(*kept, new))
            write_manifest(self.folder, manifest)
            self._load()

    def scan(self, query_d: npt.NDArray[np.floating], k: int, mask_n: Mask | None = None) -> Scored:
        """Find the `k` rows of highest cosine similarity to a query."""
        num_rows = len(self.tile_ids)
        if not num_rows:
            return Scored(np.empty(0, np.int64), np.empty(0))
        query_d = unit_query(query_d, self._manifest.num_dims)
        if (num_rows if mask_n is None else np.count_nonzero(mask_n)) <= max(EXACT_ROWS, k):
            admitted_n = np.arange(num_rows) if mask_n is None else np.flatnonzero(mask_n)
            return best_rows(admitted_n, self._scores(admitted_n, query_d), k)
        query = quantise(query_d[None])
        jobs = [
            self._pool.submit(_bounds, segment, slice(first, first + BLOCK_ROWS), query, k, mask_n)
            for segment in self._segments.values()
            for first in range(0, segment.num_rows, BLOCK_ROWS)
        ]
        uppers, lowers = zip(*(job.result() for job in jobs), strict=True)
        lowest, upper_n = np.partition(np.concatenate(lowers), -k)[-k], np.concatenate(uppers)
        high = np.flatnonzero(upper_n >= lowest)
        row_n, upper_n = high if mask_n is None else np.flatnonzero(mask_n)[high], upper_n[high]
        is_likely_n = upper_n >= np.partition(upper_n, -k)[-k]
        likely_n = row_n[is_likely_n]
        score_n = self._scores(likely_n, query_d)
        others_n = row_n[~is_likely_n & (upper_n >= np.partition(score_n, -k)[-k])]
        scores = np.concatenate([score_n, self._scores(others_n, query_d)])
        return best_rows(np.concatenate([likely_n, others_n]), scores, k)

    def features(self, rows: npt.NDArray[np.int64] | Sequence[int]) -> Floats:
        """Read the features of rows."""
        row_n = np.asarray(rows, np.int64)
        feat_nd = np.empty((len(row_n), self._manifest.num_dims), np.float32)
        for segment in self._segments.values():
            is_here_n = (row_n >= segment.start) & (row_n < segment.start + segment.num_rows)
            if is_here_n.any():
                feat_nd[is_here_n] = segment.read(row_n[is_here_n] - segment.start)
        return feat_nd

    def _scores(self, row_n: npt.NDArray[np.int64], query_d: Floats) -> npt.NDArray[np.float64]:
        """Compute the similarities of rows from their float16 features."""
        score_n = np.empty(len(row_n))
        for first in range(0, len(row_n), RESCORE_ROWS):
            feat_nd = self.features(row_n[first : first + RESCORE_ROWS])
            score_n[first : first + RESCORE_ROWS] = numkong.cdist(query_d[None], feat_nd, metric="dot")
        return score_n.round(SCORE_DECIMALS)


def _bounds(segment: Segment, rows: slice, query: Codes, k: int, mask_n: Mask | None) -> tuple[Floats, Floats]:
    """For the admitted rows of a block, return upper bounds of their similarities and the `k` largest lower bounds."""
    segment.check_codes()
    codes_nd, scale_n, error_n = segment.codes.codes_nd[rows], segment.codes.scale_n[rows], segment.codes.error_n[rows]
    if mask_n is None:
        similarity_n = dots(query.codes_nd[0], codes_nd)
    else:
        start = segment.start + rows.start
        offset_n = np.flatnonzero(mask_n[start : start + len(codes_nd)])
        scale_n, error_n = scale_n[offset_n], error_n[offset_n]
        is_sparse = len(offset_n) < GATHER_SHARE * len(codes_nd)
        similarity_n = dots(query.codes_nd[0], codes_nd[offset_n] if is_sparse else codes_nd)
        similarity_n = similarity_n if is_sparse else similarity_n[offset_n]
    # Arrays are changed in place where possible, because allocating memory takes as long as the arithmetic.
    upper_n = similarity_n.astype(np.float32)
    upper_n *= scale_n * query.scale_n[0]
    bound_n = error_bound(error_n, float(query.error_n[0]))
    lower_n = upper_n - bound_n
    upper_n += bound_n
    if k < len(lower_n):
        lower_n.partition(len(lower_n) - k)
    return upper_n, lower_n[-k:].copy()


def unit_query(query_d: npt.NDArray[np.floating], num_dims: int) -> Floats:
    """Scale a query to length 1."""
    if query_d.shape != (num_dims,):
        raise SearchError(f"the query has the shape {query_d.shape}, the index has {num_dims} dimensions")
    if not np.isfinite(query_d).all() or not query_d.any():
        raise SearchError("the terms of the query cancel each other: change a weight")
    return np.asarray(unit(query_d.astype(np.float64)), np.float32)


def check_new_rows(known: pa.Array, tile_ids: Sequence[str], feat_nd: npt.NDArray[np.floating], num_dims: int) -> None:
    """Raise SearchError if new rows have the wrong shape, a value that is not finite, or a tile id that exists."""
    if feat_nd.ndim != 2 or len(feat_nd) != len(tile_ids) or num_dims not in (0, feat_nd.shape[1]):
        raise SearchError(f"features {feat_nd.shape} do not fit {len(tile_ids)} tiles of {num_dims} dimensions")
    if not np.isfinite(feat_nd).all():
        raise SearchError("a feature is not finite: the model is damaged")
    if len(set(tile_ids)) < len(tile_ids) or any(row is not None for row in rows_of(known, tile_ids)):
        raise SearchError("a tile is in the index already")


def dots(query_d: npt.NDArray[Any], feat_nd: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Compute the dot product of a vector with each row of a matrix of the same type, in one thread."""
    if not len(feat_nd):
        return np.empty(0)
    return np.asarray(numkong.cdist(query_d[None], feat_nd, metric="dot")).ravel()


def num_cores() -> int:
    """Return the number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
