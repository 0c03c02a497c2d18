"""The map of the features: every n-th tile at its first two principal components."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hubbleclip.evaluation.maps import principal_axes
from hubbleclip.search.stores.base import VectorStore

MAX_MAPPED, MAX_FITTED, CHUNK_ROWS = 50_000, 5_000, 4_096
"""Maximum numbers of tiles on the map, of tiles that give the principal components, and of rows read at once."""


def make_map(store: VectorStore) -> npt.NDArray[np.float64]:
    """Project evenly spaced rows of a store on the first two principal components; (n, 2), NaN for the others."""
    xy_n2 = np.full((len(store.tile_ids), 2), np.nan)
    fitted, mapped = (_evenly(len(xy_n2), most) for most in (MAX_FITTED, MAX_MAPPED))
    if len(fitted) < 3:
        return xy_n2
    mean_d, axes_2d, _ = principal_axes(store.features(fitted).astype(np.float64))
    for start in range(0, len(mapped), CHUNK_ROWS):
        rows = mapped[start : start + CHUNK_ROWS]
        xy_n2[rows] = (store.features(rows).astype(np.float64) - mean_d) @ axes_2d.T
    return xy_n2


def _evenly(num: int, most: int) -> npt.NDArray[np.int64]:
    """Return at most `most` of `num` rows, evenly spaced."""
    return np.arange(0, num, max(1, -(-num // most)))
