"""Where an exposure was aimed, so that a tile can be centred on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from astropy.wcs import WCS
from astropy.wcs.wcs import NoConvergence

from hubbleclip.fits.instruments import Look, mission_of


def aims_of(look: Look) -> tuple[tuple[float, float], ...]:
    """Read where an exposure was aimed.

    Parameters
    ----------
    look
        Reads the header.

    Returns
    -------
    tuple of (float, float)
        Right ascension and declination in degrees (ICRS), best first.

    """
    places = ((look(ra), look(dec)) for ra, dec in mission_of(look).header.aim_keywords)
    return tuple((float(ra), float(dec)) for ra, dec in places if _is_number(ra) and _is_number(dec))


def aim_point(
    aims_deg: Sequence[tuple[float, float]], wcs: WCS | None, shape_yx: tuple[int, int]
) -> tuple[float, float] | None:
    """Find the pixel that an exposure was aimed at.

    Parameters
    ----------
    aims_deg
        Right ascension and declination in degrees, best first.
    wcs
        Of the image.
    shape_yx
        Shape of the image in pixels.

    Returns
    -------
    tuple of float, or None
        (y, x) of the first aim that lies in the image, else of the reference pixel of the WCS; None where neither
        does.

    """
    if wcs is None:
        return None
    points = [_pixel_of(wcs, *aim) for aim in aims_deg]
    # CRPIX counts pixels from 1, in (x, y) order.
    points.append((float(wcs.wcs.crpix[1]) - 1, float(wcs.wcs.crpix[0]) - 1))
    return next((p for p in points if all(-0.5 <= at < n - 0.5 for at, n in zip(p, shape_yx, strict=True))), None)


def aim_start(aim_yx: tuple[float, float], shape_yx: tuple[int, int], size_px: int) -> tuple[int, int]:
    """Place a tile about a point: inside the image where it has room, else centred on the short axis and padded.

    Parameters
    ----------
    aim_yx
        The point in pixels.
    shape_yx
        Shape of the image in pixels.
    size_px
        Side of the tile.

    Returns
    -------
    tuple of int
        First pixel (y, x) of the tile; negative where it is padded.

    """
    y0, x0 = (
        min(max(round(at - (size_px - 1) / 2), 0), side - size_px) if side >= size_px else (side - size_px) // 2
        for at, side in zip(aim_yx, shape_yx, strict=True)
    )
    return y0, x0


def _pixel_of(wcs: WCS, ra_deg: float, dec_deg: float) -> tuple[float, float]:
    """Pixel (y, x) of a position; NaN where the projection has none."""
    degrees = (ra_deg, dec_deg) if wcs.wcs.lng == 0 else (dec_deg, ra_deg)
    try:
        x, y = wcs.all_world2pix(*degrees, 0)
    except (NoConvergence, ValueError):
        return np.nan, np.nan
    return float(y), float(x)


def _is_number(value: Any) -> bool:
    """Whether a keyword holds a number; a FITS logical is not one."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)
