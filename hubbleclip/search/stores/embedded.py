"""The vector store of one machine: files of features, and an exact scan of their one-byte codes.

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
from typing import Any

import numkong
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from hubbleclip.core.errors import SearchError
from hubbleclip.core.io import locked
from hubbleclip.core.vectors import unit
from hubbleclip.search.stores import segments
from hubbleclip.search.stores.base import ID_TYPE, Floats, Mask, RowNumbers, Scored, best_rows, file_stamp, rows_of
from hubbleclip.search.stores.segments import Codes, Manifest, Segment, SegmentFacts

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
            self._stamp = file_stamp(self.folder / segments.MANIFEST)
            manifest = segments.read_manifest(self.folder)
            self._manifest = manifest or Manifest(model_digest=self.model_digest, num_dims=0, segments=())
            if self._manifest.model_digest != self.model_digest:
                raise SearchError(f"{self.folder} belongs to another model: {segments.rebuild_hint(self.folder)}")
            try:
                opened = list(self._pool.map(self._open, self._manifest.segments))
                break
            except SearchError:
                if self.is_current():
                    raise
        else:
            raise SearchError(f"{self.folder} is written too often to be read: try again later")
        self.tile_ids = pa.concat_arrays([pa.array([], ID_TYPE), *(one.tile_ids for one in opened)])
        self._segments = {  # slices of one array, which has all ids in memory once
            facts.key: replace(one, tile_ids=self.tile_ids.slice(one.start, one.num_rows))
            for facts, one in zip(self._manifest.segments, opened, strict=True)
        }

    def _open(self, facts: SegmentFacts) -> Segment:
        """Open a segment unless it is open."""
        return self._segments.get(facts.key) or segments.open_segment(self.folder, facts, self._manifest.num_dims)

    def is_current(self) -> bool:
        """See `VectorStore`."""
        # A segment that was damaged is opened again, because the file may be restored under its name.
        return file_stamp(self.folder / segments.MANIFEST) == self._stamp and self.is_whole()

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
            check_new_rows(self.tile_ids, tile_ids, feat_nd, self._manifest.num_dims)
            if not tile_ids:
                return
            old = self._manifest.segments
            kept = old[: len(old) - segments.merge_tail(old, len(tile_ids), MAX_SEGMENT_ROWS)]
            merged = [self._segments[facts.key] for facts in old[len(kept) :]]
            ids = pa.concat_arrays([*(segment.tile_ids for segment in merged), pa.array(tile_ids, ID_TYPE)])
            old_nd = [segment.read(np.arange(segment.num_rows)) for segment in merged]
            halves_nd = np.concatenate([*old_nd, feat_nd.astype(np.float16)])
            start = kept[-1].stop if kept else 0
            new = segments.write_segment(self.folder, self.model_digest, start, ids, halves_nd)
            manifest = Manifest(model_digest=self.model_digest, num_dims=halves_nd.shape[1], segments=(*kept, new))
            segments.write_manifest(self.folder, manifest)
            self._load()

    def scan(self, query_d: npt.NDArray[np.floating], k: int, mask_n: Mask | None = None) -> Scored:
        """See `VectorStore`."""
        num_rows = len(self.tile_ids)
        if not num_rows:
            return Scored(np.empty(0, np.int64), np.empty(0))
        query_d = unit_query(query_d, self._manifest.num_dims)
        admitted_n = np.arange(num_rows) if mask_n is None else np.flatnonzero(mask_n)
        if len(admitted_n) <= max(EXACT_ROWS, k):
            return best_rows(admitted_n, self._scores(admitted_n, query_d), k)
        query = segments.quantise(query_d[None])
        jobs = [
            self._pool.submit(_bounds, segment, slice(first, first + BLOCK_ROWS), query, k, mask_n)
            for segment in self._segments.values()
            for first in range(0, segment.num_rows, BLOCK_ROWS)
        ]
        uppers, lowers = zip(*(job.result() for job in jobs), strict=True)
        lowest, upper_n = np.partition(np.concatenate(lowers), -k)[-k], np.concatenate(uppers)
        high = np.flatnonzero(upper_n >= lowest)
        row_n, upper_n = admitted_n[high], upper_n[high]
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


def _bounds(segment: Segment, rows: slice, query: Codes, k: int, mask_n: Mask | None) -> tuple[Floats, Floats]:
    """Return upper bounds of the similarities of the admitted rows of a block, and their `k` largest lower bounds."""
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
    # In place where possible: memory that is new in each block costs as much time as the arithmetic.
    upper_n = similarity_n.astype(np.float32)
    upper_n *= scale_n * query.scale_n[0]
    bound_n = segments.error_bound(error_n, float(query.error_n[0]))
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
    unit_d: Floats = unit(query_d.astype(np.float64)).astype(np.float32)
    return unit_d


def check_new_rows(known: pa.Array, tile_ids: Sequence[str], feat_nd: npt.NDArray[np.floating], num_dims: int) -> None:
    """Check rows before they are appended."""
    if feat_nd.ndim != 2 or len(feat_nd) != len(tile_ids) or num_dims not in (0, feat_nd.shape[1]):
        raise SearchError(f"features {feat_nd.shape} do not fit {len(tile_ids)} tiles of {num_dims} dimensions")
    if not np.isfinite(feat_nd).all():
        raise SearchError("a feature is not finite: the model is damaged")
    if len(set(tile_ids)) < len(tile_ids) or any(row is not None for row in rows_of(known, tile_ids)):
        raise SearchError("a tile is in the index already")


def dots(query_d: npt.NDArray[Any], feat_nd: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Compute the dot products of a vector with many others of the same type, in one thread."""
    if not len(feat_nd):
        return np.empty(0)
    products: npt.NDArray[np.float64] = np.asarray(numkong.cdist(query_d[None], feat_nd, metric="dot"))[0]
    return products


def num_cores() -> int:
    """Return the number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
