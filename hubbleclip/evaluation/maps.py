"""Maps that the report and the search show: the occlusion map of a tile, and the principal plane of the features."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hubbleclip.evaluation.metrics.retrieval import Floats


def cover_squares(image_yx: npt.NDArray[np.uint8], num_squares: int) -> npt.NDArray[np.uint8]:
    """Return a tile, then a copy for each square of a grid, with this square covered by the tile's median level.

    The grid has `num_squares` x `num_squares` squares. The fall in similarity from the tile to a copy measures how much
    the covered square contributes (Zeiler & Fergus 2014, arXiv 1311.2901, section 4.2).
    """
    y, x = (np.linspace(0, size, num_squares + 1).astype(int) for size in image_yx.shape)
    images = np.repeat(image_yx[None], 1 + num_squares**2, axis=0)
    median = np.sort(image_yx, axis=None)[(image_yx.size - 1) // 2]  # the lower median, which is a level of the tile
    for image, (i, j) in zip(images[1:], np.ndindex(num_squares, num_squares), strict=True):
        image[y[i] : y[i + 1], x[j] : x[j + 1]] = median
    return images


def similarity_drops(similarity_n: npt.NDArray[np.floating]) -> Floats:
    """Compute how much covering each square (y, x) lowers the similarity.

    `similarity_n` has the similarity of each image that `cover_squares` returns.
    """
    drop_n: Floats = similarity_n[0] - similarity_n[1:].astype(np.float64)
    return drop_n.reshape(-1, round(len(drop_n) ** 0.5))


def principal_axes(feat_nd: Floats) -> tuple[Floats, Floats, Floats]:
    """Find the mean (d,) of features, their first two principal axes (2, d), and the share of variance of each axis."""
    mean_d = feat_nd.mean(axis=0)
    _, singular_k, axes_kd = np.linalg.svd(feat_nd - mean_d, full_matrices=False)
    # The sign of an axis is arbitrary. The axis's largest loading is made positive, so that the map is reproducible.
    signs_2 = np.sign(axes_kd[np.arange(2), np.abs(axes_kd[:2]).argmax(axis=1)])
    shares_2 = singular_k[:2] ** 2 / max(np.sum(singular_k**2), 1e-12)
    return mean_d, axes_kd[:2] * signs_2[:, None], shares_2
