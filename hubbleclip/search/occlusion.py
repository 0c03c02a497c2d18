"""Occlusion maps: which parts of a tile make it similar to a text."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

NUM_SQUARES = 7
"""Squares along each side of a tile. Those of 224 px are 32 px wide: whole patches of a ViT-B/16 or ViT-B/32."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Occlusion:
    """What covering each square of a tile does to its similarity to a text.

    Attributes
    ----------
    similarity
        Cosine similarity of the whole tile.
    drop_yx
        By how much it falls when a square is covered, (`NUM_SQUARES`, `NUM_SQUARES`) from the top left of the picture;
        negative where it rises.

    """

    similarity: float
    drop_yx: npt.NDArray[np.float64]


def cover_squares(image_yx: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Cover each square of a tile in turn by the median of the tile.

    Zeiler & Fergus 2014, arXiv 1311.2901, section 4.2.
    """
    y, x = (np.linspace(0, size, NUM_SQUARES + 1).astype(int) for size in image_yx.shape)
    images = np.repeat(image_yx[None], 1 + NUM_SQUARES**2, axis=0)
    median = np.median(image_yx).astype(np.uint8)
    for image, (i, j) in zip(images[1:], np.ndindex(NUM_SQUARES, NUM_SQUARES), strict=True):
        image[y[i] : y[i + 1], x[j] : x[j + 1]] = median
    return images


def occlusion_of(similarity_n: npt.NDArray[np.floating]) -> Occlusion:
    """Compute the map from the similarities of the pictures that `cover_squares` returned."""
    drop_n = similarity_n[0] - similarity_n[1:].astype(np.float64)
    return Occlusion(similarity=float(similarity_n[0]), drop_yx=drop_n.reshape(NUM_SQUARES, NUM_SQUARES))
