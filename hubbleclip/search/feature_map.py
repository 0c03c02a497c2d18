"""The map of the features, made by the stage `index`: every n-th tile at its first two principal components."""

from __future__ import annotations

import io
import logging

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from hubbleclip.core.io import sha256_bytes, write_bytes
from hubbleclip.core.layout import Layout
from hubbleclip.evaluation.maps import principal_axes
from hubbleclip.search.stores.base import VectorStore

log = logging.getLogger(__name__)
MAX_MAPPED, MAX_FITTED, CHUNK_ROWS = 50_000, 5_000, 4_096
"""Maximum numbers of tiles on the map, of tiles that give the principal components, and of rows read at once."""
DECIMALS = 6
"""Decimals of a coordinate."""
DIGEST_LENGTH = 32


def make_map(store: VectorStore) -> pa.Table:
    """Project evenly spaced rows of a store on the first two principal components of its features."""
    num = len(store.tile_ids)
    fitted, mapped = _evenly(num, MAX_FITTED), _evenly(num, MAX_MAPPED)
    if len(fitted) < 3:
        return pa.table({"row": np.empty(0, np.int64), "x": np.empty(0), "y": np.empty(0)})
    feat_nd = store.features(fitted).astype(np.float64)
    mean_d, axes_2d, _ = principal_axes(feat_nd)
    parts = [
        (store.features(mapped[start : start + CHUNK_ROWS]).astype(np.float64) - mean_d) @ axes_2d.T
        for start in range(0, len(mapped), CHUNK_ROWS)
    ]
    x, y = np.concatenate(parts).round(DECIMALS).T
    return pa.table({"row": mapped, "x": x, "y": y})


def write_map(layout: Layout, table: pa.Table) -> str:
    """Write a map to a file that is named by the returned digest; the map is used once `current.json` names it."""
    written = io.BytesIO()
    pq.write_table(table, written, compression="zstd")
    content = written.getvalue()
    digest = sha256_bytes(content)[:DIGEST_LENGTH]
    path = layout.feature_map(digest)
    if not path.is_file() or path.read_bytes() != content:
        write_bytes(path, content)
    return digest


def read_map(layout: Layout, digest: str, store: VectorStore) -> npt.NDArray[np.float64]:
    """Read the map that an index has, or make it if the file is missing or damaged."""
    path = layout.feature_map(digest)
    content = path.read_bytes() if path.is_file() else b""
    is_intact = sha256_bytes(content)[:DIGEST_LENGTH] == digest
    if not is_intact:
        log.warning("the map of the features is missing or damaged and is computed again: run `hubbleclip index`")
    table = pq.read_table(pa.BufferReader(content)) if is_intact else make_map(store)
    xy_n2 = np.full((len(store.tile_ids), 2), np.nan)
    xy_n2[table["row"].to_numpy()] = np.stack([table["x"].to_numpy(), table["y"].to_numpy()], axis=1)
    return xy_n2


def remove_other_maps(layout: Layout, digest: str) -> None:
    """Delete the maps of former indexes."""
    kept = layout.feature_map(digest)
    for path in layout.index.glob(f"*{kept.suffix}"):
        if path != kept:
            path.unlink(missing_ok=True)


def _evenly(num: int, most: int) -> npt.NDArray[np.int64]:
    """Return at most `most` of `num` rows, evenly spaced."""
    return np.arange(0, num, max(1, -(-num // most)))
