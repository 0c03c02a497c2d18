"""Find the point at which an exposure was aimed, so that a tile can be centred on that point."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from astropy.wcs import WCS
from astropy.wcs.wcs import NoConvergence

from hubbleclip.fits.instruments import Look, mission_of


def aims_of(look: Look) -> tuple[tuple[float, float], ...]:
    """Read the sky positions (RA, Dec in degrees) at which an exposure was aimed, the most precise first."""
    places = ((look(ra), look(dec)) for ra, dec in mission_of(look).header.aim_keywords)
    return tuple((float(ra), float(dec)) for ra, dec in places if _is_number(ra) and _is_number(dec))


def aim_point(
    aims_deg: Sequence[tuple[float, float]], wcs: WCS | None, shape_yx: tuple[int, int]
) -> tuple[float, float] | None:
    """Return the first point (y, x) inside the image; the WCS reference point is tried after the aimed positions."""
    if wcs is None:
        return None
    points = [_pixel_of(wcs, *aim) for aim in aims_deg]
    # CRPIX counts pixels from 1, in (x, y) order.
    points.append((float(wcs.wcs.crpix[1]) - 1, float(wcs.wcs.crpix[0]) - 1))
    return next((p for p in points if all(-0.5 <= at < n - 0.5 for at, n in zip(p, shape_yx, strict=True))), None)


def aim_start(aim_yx: tuple[float, float], shape_yx: tuple[int, int], size_px: int) -> tuple[int, int]:
    """Place a tile around a point (y, x), and return its first pixel.

    The tile is moved so that it lies inside the image. Along an axis that is shorter than the tile, the image is
    centred in the tile and the tile is padded.
    """
    y0, x0 = (
        min(max(round(at - (size_px - 1) / 2), 0), side - size_px) if side >= size_px else (side - size_px) // 2
        for at, side in zip(aim_yx, shape_yx, strict=True)
    )
    return y0, x0


def _pixel_of(wcs: WCS, ra_deg: float, dec_deg: float) -> tuple[float, float]:
    """Return the pixel (y, x) of a sky position; NaN where the projection does not map the position to a pixel."""
    degrees = (ra_deg, dec_deg) if wcs.wcs.lng == 0 else (dec_deg, ra_deg)
    try:
        x, y = wcs.all_world2pix(*degrees, 0)
    except (NoConvergence, ValueError):
        return np.nan, np.nan
    return float(y), float(x)


def _is_number(value: Any) -> bool:
    """Return whether a keyword's value is a number. A FITS logical is not a number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)
