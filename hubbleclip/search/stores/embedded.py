"""The vector store of one machine: files of features, and an exact scan of their one-byte codes, mapped into memory.

The scan computes the similarity of every admitted row from its codes, together with a bound of the error. The k rows
with the largest upper bounds are scored again from their float16 features. A row whose upper bound is below the k-th of
these scores cannot be among the best k; every row that can be is scored again, too. The result is therefore the exact
one, whatever the filter, and pages of a result never overlap.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numkong
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from hubbleclip.core.errors import SearchError
from hubbleclip.core.io import locked
from hubbleclip.search.stores.base import (
    ID_TYPE,
    Floats,
    Mask,
    RowNumbers,
    Scored,
    best_rows,
    check_new_rows,
    file_stamp,
    unit_query,
)
from hubbleclip.search.stores.segments import (
    MANIFEST,
    Codes,
    Manifest,
    Segment,
    error_bound,
    merge_tail,
    open_segments,
    quantise,
    read_manifest,
    rebuild_hint,
    write_manifest,
    write_segment,
)

MAX_SEGMENT_ROWS = 131_072
"""Maximum number of rows of a merged segment, which bounds the time and the memory of an append."""
BLOCK_ROWS = 65_536
"""Rows that one thread scans at once; their scores stay in the processor's cache."""
EXACT_ROWS = 2048
"""If at most this number of rows is admitted, all of them are scored exactly, without a scan of the codes."""
GATHER_SHARE = 1 / 8
"""If a smaller share of the rows of a block is admitted, only the codes of the admitted rows are read."""
RESCORE_ROWS = 4096
"""Rows that are scored exactly at once, which bounds the memory."""
SCORE_DECIMALS = 9
"""Decimals to which a score is rounded, so that rounding errors of sums do not rank equal features."""
NUM_TRIES = 5


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

        A missing file is no damage if another process has replaced the manifest meanwhile; then all is read again.
        """
        for _ in range(NUM_TRIES):
            self._stamp = file_stamp(self.folder / MANIFEST)
            manifest = read_manifest(self.folder)
            self._manifest = manifest or Manifest(model_digest=self.model_digest, num_dims=0, segments=())
            if self._manifest.model_digest != self.model_digest:
                raise SearchError(f"{self.folder} belongs to another model: {rebuild_hint(self.folder)}")
            try:
                self._segments = open_segments(self.folder, self._manifest, self._segments, self._pool)
                break
            except SearchError:
                if self.is_current():
                    raise
        else:
            raise SearchError(f"{self.folder} is written too often to be read: try again later")
        self._tile_ids = pa.concat_arrays([pa.array([], ID_TYPE), *(s.tile_ids for s in self._segments.values())])
        self._segments = {  # slices of one array, which has all ids in memory once
            key: replace(segment, tile_ids=self._tile_ids.slice(segment.start, segment.num_rows))
            for key, segment in self._segments.items()
        }

    @property
    def tile_ids(self) -> pa.Array:
        """See `VectorStore`."""
        return self._tile_ids

    def is_current(self) -> bool:
        """See `VectorStore`."""
        # A segment that was damaged is opened again, because the file may be restored under its name.
        return file_stamp(self.folder / MANIFEST) == self._stamp and self.is_whole()

    def is_whole(self) -> bool:
        """See `VectorStore`."""
        return all(segment.is_whole() for segment in self._segments.values())

    def close(self) -> None:
        """See `VectorStore`."""
        self._pool.shutdown()
        for segment in self._segments.values():
            segment.floats.close()
        self._segments = {}

    def append(self, tile_ids: Sequence[str], feat_nd: npt.NDArray[np.floating]) -> None:
        """See `VectorStore`."""
        with locked(self.folder):
            if not self.is_current():
                self._load()
            check_new_rows(self._tile_ids, tile_ids, feat_nd, self._manifest.num_dims)
            if not tile_ids:
                return
            old = self._manifest.segments
            kept = old[: len(old) - merge_tail(old, len(tile_ids), MAX_SEGMENT_ROWS)]
            merged = [self._segments[facts.key] for facts in old[len(kept) :]]
            ids = pa.concat_arrays([*(segment.tile_ids for segment in merged), pa.array(tile_ids, ID_TYPE)])
            old_nd = [segment.read(np.arange(segment.num_rows)) for segment in merged]
            halves_nd = np.concatenate([*old_nd, feat_nd.astype(np.float16)])
            start = kept[-1].stop if kept else 0
            new = write_segment(self.folder, self.model_digest, start, ids, halves_nd)
            manifest = Manifest(model_digest=self.model_digest, num_dims=halves_nd.shape[1], segments=(*kept, new))
            write_manifest(self.folder, manifest)
            self._load()

    def scan(self, query_d: npt.NDArray[np.floating], k: int, mask_n: Mask | None = None) -> Scored:
        """See `VectorStore`."""
        num_rows = len(self._tile_ids)
        if not num_rows:
            return Scored(np.empty(0, np.int64), np.empty(0))
        query_d = unit_query(query_d, self._manifest.num_dims)
        if (num_rows if mask_n is None else np.count_nonzero(mask_n)) <= max(EXACT_ROWS, k):
            row_n = np.arange(num_rows) if mask_n is None else np.flatnonzero(mask_n)
            return best_rows(row_n, self._scores(row_n, query_d), k)
        query = quantise(query_d[None])
        jobs = [
            self._pool.submit(_bounds, segment, slice(first, first + BLOCK_ROWS), query, k, mask_n)
            for segment in self._segments.values()
            for first in range(0, segment.num_rows, BLOCK_ROWS)
        ]
        blocks = [job.result() for job in jobs]
        lowest = np.partition(np.concatenate([block.best_lower for block in blocks]), -k)[-k]
        high = [np.flatnonzero(block.upper_n >= lowest) for block in blocks]
        row_n = np.concatenate([block.row_numbers(found) for block, found in zip(blocks, high, strict=True)])
        upper_n = np.concatenate([block.upper_n[found] for block, found in zip(blocks, high, strict=True)])
        is_likely_n = upper_n >= np.partition(upper_n, -k)[-k]
        likely_n = row_n[is_likely_n]
        score_n = self._scores(likely_n, query_d)
        others_n = row_n[~is_likely_n & (upper_n >= np.partition(score_n, -k)[-k])]
        scores = np.concatenate([score_n, self._scores(others_n, query_d)])
        return best_rows(np.concatenate([likely_n, others_n]), scores, k)

    def features(self, rows: RowNumbers | Sequence[int]) -> Floats:
        """See `VectorStore`."""
        row_n = np.asarray(rows, np.int64)
        feat_nd = np.empty((len(row_n), self._manifest.num_dims), np.float32)
        for segment in self._segments.values():
            is_here_n = (row_n >= segment.start) & (row_n < segment.start + segment.num_rows)
            if is_here_n.any():
                feat_nd[is_here_n] = segment.read(row_n[is_here_n] - segment.start)
        return feat_nd

    def _scores(self, row_n: RowNumbers, query_d: Floats) -> npt.NDArray[np.float64]:
        """Compute the similarities of rows from their float16 features."""
        score_n = np.empty(len(row_n))
        for first in range(0, len(row_n), RESCORE_ROWS):
            feat_nd = self.features(row_n[first : first + RESCORE_ROWS])
            score_n[first : first + RESCORE_ROWS] = numkong.cdist(query_d[None], feat_nd, metric="dot")
        return score_n.round(SCORE_DECIMALS)


class _Block(NamedTuple):
    """Upper bounds of the similarities in a block, and its k largest lower bounds.

    Position i is row `start + i`, or row `start + offset_n[i]` if only some rows of the block are admitted.
    """

    start: int
    offset_n: RowNumbers | None
    upper_n: Floats
    best_lower: Floats

    def row_numbers(self, position_n: RowNumbers) -> RowNumbers:
        """Return the rows at positions."""
        return self.start + (position_n if self.offset_n is None else self.offset_n[position_n])


def _bounds(segment: Segment, rows: slice, query: Codes, k: int, mask_n: Mask | None) -> _Block:
    """Bound the similarities of the admitted rows of a block."""
    segment.check_codes()
    start = segment.start + rows.start
    codes = segment.codes
    codes_nd, scale_n, error_n = codes.codes_nd[rows], codes.scale_n[rows], codes.error_n[rows]
    offset_n = None if mask_n is None else np.flatnonzero(mask_n[start : start + len(codes_nd)])
    is_sparse = offset_n is not None and len(offset_n) < GATHER_SHARE * len(codes_nd)
    similarity_n = dots(query.codes_nd[0], codes_nd[offset_n] if is_sparse else codes_nd)
    if offset_n is not None:
        scale_n, error_n = scale_n[offset_n], error_n[offset_n]
        similarity_n = similarity_n if is_sparse else similarity_n[offset_n]
    # In place where possible: memory that is new in each block costs as much time as the arithmetic.
    upper_n = similarity_n.astype(np.float32)
    upper_n *= scale_n * query.scale_n[0]
    bound_n = error_bound(error_n, float(query.error_n[0]))
    lower_n = upper_n - bound_n
    upper_n += bound_n
    if k < len(lower_n):
        lower_n.partition(len(lower_n) - k)
    return _Block(start, offset_n, upper_n, lower_n[-k:].copy())


def dots(query_d: npt.NDArray[Any], feat_nd: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Compute the dot products of a vector with many others of the same type, in one thread."""
    if not len(feat_nd):
        return np.empty(0)
    products: npt.NDArray[np.float64] = np.asarray(numkong.cdist(query_d[None], feat_nd, metric="dot"))[0]
    return products


def num_cores() -> int:
    """Return the number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
