"""Features as one byte per dimension, with a bound of the error that this causes in each similarity.

Before rounding, a feature is rotated by random signs and a discrete cosine transform, which keeps all similarities.
The rotation spreads a large value in one dimension, which features of CLIP models have, over all dimensions; without
it, that value would make the steps of the other dimensions coarse.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.fft import dct

MAX_CODE = 127
SIGN_SEED = 20_080_311
ROUNDING = 1e-5
"""Upper bound of what float32 arithmetic adds to the error of a similarity."""


class Codes(NamedTuple):
    """Quantised features: `codes_nd * scale_n[:, None]` differs from the rotated feature by at most `error_n`."""

    codes_nd: npt.NDArray[np.int8]
    scale_n: npt.NDArray[np.float32]
    error_n: npt.NDArray[np.float32]


def quantise(feat_nd: npt.NDArray[np.floating]) -> Codes:
    """Rotate and round features."""
    rotated_nd = dct(feat_nd.astype(np.float32) * _signs(feat_nd.shape[1]), norm="ortho", axis=1)
    scale_n = np.maximum(np.abs(rotated_nd).max(axis=1), np.finfo(np.float32).tiny) / np.float32(MAX_CODE)
    codes_nd = np.rint(rotated_nd / scale_n[:, None]).astype(np.int8)
    error_n = np.linalg.norm(rotated_nd - codes_nd * scale_n[:, None], axis=1)
    return Codes(codes_nd, scale_n, error_n.astype(np.float32))


def error_bound(error_n: npt.NDArray[np.float32], query_error: float) -> npt.NDArray[np.float32]:
    """Bound the error of similarities that are computed from codes.

    For a feature x and a query q of length 1 with codes x' and q', the Cauchy-Schwarz inequality gives
    |x.q - x'.q'| <= |x - x'| |q| + |x'| |q - q'|, and |x'| <= 1 + |x - x'|.
    """
    bound_n: npt.NDArray[np.float32] = error_n * np.float32(1 + query_error) + np.float32(query_error + ROUNDING)
    return bound_n


@lru_cache(8)
def _signs(num_dims: int) -> npt.NDArray[np.float32]:
    """Draw one sign per dimension."""
    return np.random.default_rng(SIGN_SEED).choice(np.array([-1, 1], np.float32), num_dims)
