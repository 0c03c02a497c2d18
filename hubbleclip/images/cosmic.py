"""Cosmic rays and hot pixels of a CCD exposure, told from stars by their sharpness."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hubbleclip.images import kernels
from hubbleclip.images.kernels import pixel_words

SIGNIFICANCE_SIGMA = 6.0
TOLERANCE_SIGMA = 1.5
MEDIAN_CONTRAST = 5.0
SEED_CONTRAST = 15.0
GROWTH_CONTRAST = 4.0
MAX_ROUNDS = 12
MAX_SHARE = 0.15


def find_cosmic_rays(
    data_yx: NDArray[np.float32], valid_yx: NDArray[np.bool_], sky: float, noise: float
) -> NDArray[np.bool_]:
    """Pixels that are too sharp to have come through the telescope.

    A seed rises above the sky by 6 noise sigmas and by 5 times the median of its 3x3, or is the peak of its 3x3 and 15
    times its lowest neighbour: no star does, since the point-spread function fills the 3x3. From seeds the mask grows
    over touching pixels that are 4 times their lowest unmasked neighbour, along tracks up to two pixels wide. It is the
    idea of L.A.Cosmic (van Dokkum 2001, PASP 113, 1420) made safe for HST's undersampled stars, whose cores that method
    eats. A mask of over 15 % of the image means sparse photons rather than rays, and is dropped.
    """
    limits = (
        np.float32(sky + SIGNIFICANCE_SIGMA * noise),
        np.float32(sky),
        np.float32(SIGNIFICANCE_SIGMA * noise),
        np.float32(MEDIAN_CONTRAST),
        np.float32(SEED_CONTRAST),
        np.float32(TOLERANCE_SIGMA * noise),
        np.float32(GROWTH_CONTRAST),
    )
    rays_yx = np.zeros(data_yx.shape, np.uint8)
    num_rays = kernels.mark_rays(pixel_words(data_yx), valid_yx, limits, MAX_ROUNDS, rays_yx)
    return rays_yx.view(np.bool_) if num_rays <= MAX_SHARE * data_yx.size else np.zeros(data_yx.shape, np.bool_)
