"""Vectors of length 1: directions on the sky, features of images and texts."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

Vectors = TypeVar("Vectors", bound=npt.NDArray[np.floating[Any]])
MIN_LENGTH = 1e-12
"""Keeps a vector of zeros at zero instead of NaN."""


def unit(vectors: Vectors) -> Vectors:
    """Scale vectors to length 1 along the last axis.

    Parameters
    ----------
    vectors
        Any shape (..., n).

    Returns
    -------
    Vectors
        Same shape and type; a vector of zeros stays zero.

    """
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    scaled: Vectors = vectors / np.maximum(lengths, MIN_LENGTH)
    return scaled
