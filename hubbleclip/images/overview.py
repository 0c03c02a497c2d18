"""The whole of an image in one tile: shrunk by area, so that no target is out of sight."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hubbleclip.images.fits import ScienceImage
from hubbleclip.images.kernels import F32, compiled, pixel_words, value_of

LEAST_SHRINK = 1.25
"""With less, an overview would only repeat the tile of native pixels."""
LEAST_COVER = 0.25


def shrink_of(shape_yx: tuple[int, int], size_px: int) -> float:
    """Pixels a side that make one of the overview: 1 where the image fits in a tile, since none is stretched up."""
    return max(1.0, max(shape_yx) / size_px)


def shrink_image(image: ScienceImage, sound_yx: NDArray[np.bool_], shrink: float) -> ScienceImage:
    """The image with each pixel the mean, by area, of the sound pixels that it covers: others neither darken nor
    brighten it. It is valid where a quarter of it is covered. The WCS stays that of the image before.
    """
    height, width = (round(side / shrink + 0.4999) for side in sound_yx.shape)
    sums_yx, areas_yx = (
        np.zeros((height, sound_yx.shape[1]), np.float32),
        np.zeros((height, sound_yx.shape[1]), np.float32),
    )
    _sum_rows(pixel_words(image.data_yx), sound_yx, shrink, sums_yx, areas_yx)
    sums_yx, areas_yx = (_sum_columns(values_yx, shrink, width) for values_yx in (sums_yx, areas_yx))
    valid_yx = areas_yx >= LEAST_COVER * shrink**2
    data_yx = np.divide(sums_yx, areas_yx, out=np.zeros((height, width), np.float32), where=valid_yx)
    return replace(image, data_yx=data_yx, valid_yx=valid_yx, may_hold_rays=False)


@compiled
def _sum_rows(pixels: Any, sound_yx: Any, shrink: Any, sums_yx: Any, areas_yx: Any) -> None:
    """Add the sound pixels of each row to the one or two rows of the small image on which it falls, by its share."""
    words_yx, swapped = pixels
    for y in range(sound_yx.shape[0]):
        words, sound = words_yx[y], sound_yx[y]
        first = min(int(y / shrink), sums_yx.shape[0] - 1)
        beyond = max(0.0, y + 1 - (first + 1) * shrink) if first + 1 < sums_yx.shape[0] else 0.0
        for row, share in ((first, F32(1 - beyond)), (first + 1, F32(beyond))):
            if share > 0:
                sums, areas = sums_yx[row], areas_yx[row]
                for x in range(words.size):
                    sums[x] += share * value_of(words[x], swapped) if sound[x] else F32(0)
                    areas[x] += share if sound[x] else F32(0)


def _sum_columns(values_yx: NDArray[np.float32], shrink: float, width: int) -> NDArray[np.float32]:
    """The same for columns: differences of the running sum at the edges of the small image's pixels."""
    upto_yx = np.zeros((values_yx.shape[0], values_yx.shape[1] + 1))
    np.cumsum(values_yx, axis=1, out=upto_yx[:, 1:])
    edges = np.minimum(np.arange(width + 1) * shrink, values_yx.shape[1])
    whole = np.minimum(edges.astype(int), values_yx.shape[1] - 1)
    at_edges_yx = upto_yx[:, whole] + (edges - whole) * values_yx[:, whole]
    columns_yx: NDArray[np.float32] = np.diff(at_edges_yx, axis=1).astype(np.float32)
    return columns_yx
