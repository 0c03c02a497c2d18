"""Normalise vectors, such as directions on the sky and features of images and texts, to length 1, and check them."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

Vectors = TypeVar("Vectors", bound=npt.NDArray[np.floating[Any]])
MIN_LENGTH = 1e-12
"""Smallest number by which a vector is divided. A vector of zeros thus stays zero; division by 0 would give NaN."""


def unit(vectors: Vectors) -> Vectors:
    """Scale vectors (..., n) to length 1 along the last axis; a vector of zeros stays zero."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    scaled: Vectors = vectors / np.maximum(lengths, MIN_LENGTH)
    return scaled


def unit_vectors(ra_deg: npt.ArrayLike, dec_deg: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Convert positions on the sky (...) to unit vectors (..., 3)."""
    ra, dec = np.radians(ra_deg), np.radians(dec_deg)
    return np.stack((np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)), axis=-1)


def first_non_finite_row(rows_nd: npt.NDArray[np.floating[Any]]) -> int | None:
    """Find the index of the first row with a value that is NaN or infinite; None if there is none."""
    is_bad_n = ~np.isfinite(rows_nd).all(axis=1)
    return int(np.argmax(is_bad_n)) if is_bad_n.any() else None
