"""Normalise vectors, such as directions on the sky and features of images and texts, to length 1."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

Vectors = TypeVar("Vectors", bound=npt.NDArray[np.floating[Any]])
MIN_LENGTH = 1e-12
"""Smallest number by which a vector is divided. A vector of zeros thus stays zero; division by 0 would give NaN."""


def unit(vectors: Vectors) -> Vectors:
    """Scale vectors to length 1 along the last axis.

    Parameters
    ----------
    vectors
        Array of any shape (..., n).

    Returns
    -------
    Vectors
        Array of the same shape and type; a vector of zeros stays zero.

    """
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    scaled: Vectors = vectors / np.maximum(lengths, MIN_LENGTH)
    return scaled
