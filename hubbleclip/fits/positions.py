"""Show positions and directions on the sky: sexagesimal text, arrows to the north and east, and a scale bar."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hubbleclip.core.vectors import unit, unit_vectors

BAR_SHARE = 0.3
"""Maximum length of a scale bar, as a fraction of the picture's side."""
Vector = NDArray[np.float64]
"""A vector (3,) in the equatorial frame, in units of the celestial sphere's radius."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compass:
    """Orientation and scale of a picture.

    `north_xy` and `east_xy` are directions in the picture, of length 1; x to the right, y downwards. `bar_share` is the
    length of the scale bar as a fraction of the picture's side; `bar_label` gives the bar's length on the sky as text.
    """

    north_xy: tuple[float, float]
    east_xy: tuple[float, float]
    bar_share: float
    bar_label: str


def make_compass(centre_3: Vector, right_3: Vector, down_3: Vector, side_arcsec: float) -> Compass:
    """Compute orientation and scale of a picture."""
    east_3 = unit(np.array([-centre_3[1], centre_3[0], 0.0]))
    basis = np.stack([right_3, down_3], axis=-1)
    bar_arcsec = round_length(side_arcsec * BAR_SHARE)
    return Compass(
        north_xy=_direction(np.cross(centre_3, east_3), basis),
        east_xy=_direction(east_3, basis),
        bar_share=bar_arcsec / side_arcsec,
        bar_label=angle_label(bar_arcsec),
    )


def compass_of_corners(corners_deg: Sequence[float], side_arcsec: float) -> Compass | None:
    """Compute orientation and scale of a tile with square pixels."""
    if len(corners_deg) != 8 or not np.isfinite(corners_deg).all() or not side_arcsec > 0:
        return None
    bottom_left, bottom_right, top_right, top_left = unit_vectors(*np.reshape(corners_deg, (4, 2)).T)
    centre_3 = unit(bottom_left + bottom_right + top_right + top_left)
    return make_compass(centre_3, unit(bottom_right - bottom_left), unit(bottom_left - top_left), side_arcsec)


def _direction(target_3: Vector, basis: NDArray[np.float64]) -> tuple[float, float]:
    """Convert a direction on the sky to a unit vector (x, y) in a picture, whose axes are the columns of `basis`."""
    x, y = unit(np.linalg.lstsq(basis, target_3, rcond=None)[0])
    return round(float(x), 4), round(float(y), 4)


def round_length(longest: float) -> float:
    """Return the largest number of the form 1, 2 or 5 times a power of ten that is at most `longest`."""
    power = 10.0 ** math.floor(math.log10(longest))
    return max(step * power for step in (1, 2, 5) if step * power <= longest * (1 + 1e-9))


def angle_label(arcsec: float) -> str:
    """Format an angle, such as 5″ or 2′."""
    return f"{arcsec:g}″" if arcsec < 60 else f"{arcsec / 60:.3g}′"


def sexagesimal(ra_deg: float, dec_deg: float) -> tuple[str, str]:
    """Format a position as sexagesimal text: right ascension in hours, declination in degrees."""
    from astropy.coordinates import Angle  # noqa: PLC0415 - a slow import

    ra = Angle(ra_deg, "deg").to_string(unit="hourangle", sep=" ", precision=2, pad=True)
    dec = Angle(dec_deg, "deg").to_string(sep=" ", precision=1, pad=True, alwayssign=True)
    return ra, dec
