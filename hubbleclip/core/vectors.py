"""Vectors of length 1: directions on the sky, features of tiles and texts."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

Vectors = TypeVar("Vectors", bound=npt.NDArray[np.floating[Any]])
MIN_LENGTH = 1e-12


def unit(vectors: Vectors) -> Vectors:
    """The vectors of the last axis scaled to length 1; one of zeros stays."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    scaled: Vectors = vectors / np.maximum(lengths, MIN_LENGTH)
    return scaled
