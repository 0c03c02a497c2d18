"""Where an exposure was aimed, so that a tile can be centred on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from astropy.wcs import WCS
from astropy.wcs.wcs import NoConvergence

from hubbleclip.fits.instruments import Look

AIMS = (("RA_TARG", "DEC_TARG"), ("RA_APER", "DEC_APER"))
"""The proposer's target, then the aperture's reference point, on which it is put but for offsets (ACS DHB 2.2)."""


def aims_of(look: Look) -> tuple[tuple[float, float], ...]:
    """Where an exposure was aimed by its header, as (ra, dec) in degrees, best first."""
    places = ((look(ra), look(dec)) for ra, dec in AIMS)
    return tuple((float(ra), float(dec)) for ra, dec in places if _is_number(ra) and _is_number(dec))


def aim_point(
    aims_deg: Sequence[tuple[float, float]], wcs: WCS | None, shape_yx: tuple[int, int]
) -> tuple[float, float] | None:
    """Pixel (y, x) of the first aim that lies in the image, else of the WCS's reference; None where neither does."""
    if wcs is None:
        return None
    points = [_pixel_of(wcs, *aim) for aim in aims_deg]
    points.append((float(wcs.wcs.crpix[1]) - 1, float(wcs.wcs.crpix[0]) - 1))
    return next((p for p in points if all(-0.5 <= at < n - 0.5 for at, n in zip(p, shape_yx, strict=True))), None)


def aim_start(aim_yx: tuple[float, float], shape_yx: tuple[int, int], size_px: int) -> tuple[int, int]:
    """First pixel of the tile about `aim_yx`: moved inside where the image has room for it, padded where it has not."""
    y0, x0 = (
        min(max(round(at - (size_px - 1) / 2), 0), side - size_px) if side >= size_px else (side - size_px) // 2
        for at, side in zip(aim_yx, shape_yx, strict=True)
    )
    return y0, x0


def _pixel_of(wcs: WCS, ra_deg: float, dec_deg: float) -> tuple[float, float]:
    degrees = (ra_deg, dec_deg) if wcs.wcs.lng == 0 else (dec_deg, ra_deg)
    try:
        x, y = wcs.all_world2pix(*degrees, 0)
    except (NoConvergence, ValueError):
        return np.nan, np.nan
    return float(y), float(x)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
