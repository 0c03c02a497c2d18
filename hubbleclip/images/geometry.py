"""Where pixels lie on the sky: the WCS of an image and of a tile cut from it."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from astropy.io import fits as pyfits
from astropy.wcs import WCS
from astropy.wcs.utils import proj_plane_pixel_area
from astropy.wcs.wcs import NoConvergence
from numpy.typing import NDArray

WCS_CARD = re.compile(
    r"(WCSAXES|NAXIS[12]?|C(TYPE|RVAL|RPIX|DELT|UNIT|ROTA)[12]|(CD|PC)[12]_[12]|PC00[12]00[12]|PV[12]_\d+|LONPOLE|LATPOLE"
    r"|RADESYS|RADECSYS|EQUINOX|EPOCH|[AB]P?_(ORDER|DMAX|\d_\d)|(CPDIS|DP|DQ|D2IM|CPERR|AXISCORR).*)$"
)
LOOKUP_CARD = re.compile(r"(CPDIS|DP\d|D2IM|CPERR|AXISCORR)")
PLANE_COLUMNS = ("CRVAL1", "CRVAL2", "CRPIX1", "CRPIX2", "CD1_1", "CD1_2", "CD2_1", "CD2_2")
PROBES = np.linspace(0.1, 0.9, 5)
BAD_WCS = (ValueError, KeyError, TypeError, AttributeError, IndexError, OSError, MemoryError)
"""What astropy raises on headers it cannot make sense of; its own WcsError is a ValueError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TileGeometry:
    """Position of a tile: centre and outer corners in ICRS degrees by the full WCS, and a header's text."""

    ra_deg: float
    dec_deg: float
    corners_deg: list[float]
    pixel_scale_arcsec: float
    wcs: str


def read_wcs(hdus: pyfits.HDUList, extension: int, plane: int) -> WCS | None:
    """The celestial WCS of an image, with its lookup tables where the file has them; None where there is no good one.

    The tables need the HDUList; a file that names tables it lacks falls back to TAN or SIP alone (0.2 px off at most).
    `plane` picks the row of the table that holds the WCS of each chip in WFPC2's cubes.
    """
    header = hdus[extension].header
    cards = pyfits.Header([card for card in header.cards if WCS_CARD.match(card.keyword)])
    cards["NAXIS"] = 2
    if plane:
        cards = _plane_header(hdus, cards, plane)
    plain = pyfits.Header([card for card in cards.cards if not LOOKUP_CARD.match(card.keyword)])
    has_tables = len(plain) < len(cards)
    attempts: list[Callable[[], WCS]] = [lambda: WCS(plain, naxis=2)]
    if has_tables:
        attempts.insert(0, lambda: WCS(cards, fobj=hdus, naxis=2))
    for attempt in attempts:
        try:
            wcs = attempt()
        except BAD_WCS:
            continue
        if _is_usable(wcs):
            return wcs
    return None


def _plane_header(hdus: pyfits.HDUList, header: pyfits.Header, plane: int) -> pyfits.Header:
    table = next((hdu for hdu in hdus if isinstance(hdu, (pyfits.TableHDU, pyfits.BinTableHDU))), None)
    if table is None or not set(PLANE_COLUMNS) <= set(table.columns.names) or len(table.data) <= plane:
        return pyfits.Header()
    changed = header.copy()
    for name in PLANE_COLUMNS:
        changed[name] = float(table.data[name][plane])
    return changed


def _is_usable(wcs: WCS) -> bool:
    if not wcs.has_celestial:
        return False
    try:
        sky = wcs.all_pix2world([[0, 0], [100, 50]], 0)
    except BAD_WCS:
        return False
    return bool(np.isfinite(sky).all()) and bool(np.ptp(sky, axis=0).max() > 0)


def tile_geometry(wcs: WCS, y0: int, x0: int, size_px: int) -> TileGeometry | None:
    """Geometry of the tile whose first pixel is (y0, x0); None where the WCS has no finite answer there."""
    low_y, low_x, high_y, high_x = y0 - 0.5, x0 - 0.5, y0 + size_px - 0.5, x0 + size_px - 0.5
    middle = (size_px - 1) / 2
    points_xy = [(low_x, low_y), (high_x, low_y), (high_x, high_y), (low_x, high_y), (x0 + middle, y0 + middle)]
    icrs = _to_icrs(wcs, np.array(points_xy))
    if not np.isfinite(icrs).all():
        return None
    return TileGeometry(
        ra_deg=float(icrs[4, 0]),
        dec_deg=float(icrs[4, 1]),
        corners_deg=[float(value) for value in icrs[:4].ravel()],
        pixel_scale_arcsec=float(np.sqrt(proj_plane_pixel_area(wcs.celestial))) * 3600,
        wcs=_header_text(wcs, y0, x0, size_px),
    )


def _to_icrs(wcs: WCS, points_xy: NDArray[np.float64]) -> NDArray[np.float64]:
    """ICRS degrees of 0-based pixels, (n, 2) as ra, dec. FK5 of 2000 is taken as ICRS: 0.1 arcsec at most."""
    if str(wcs.wcs.radesys or "ICRS").upper() in ("ICRS", "FK5") and abs((wcs.wcs.equinox or 2000) - 2000) < 1:
        radec: NDArray[np.float64] = wcs.all_pix2world(points_xy, 0)
        return radec if wcs.wcs.lng == 0 else radec[:, ::-1]
    sky = wcs.pixel_to_world(points_xy[:, 0], points_xy[:, 1]).icrs
    return np.column_stack([sky.ra.deg, sky.dec.deg])


def _header_text(wcs: WCS, y0: int, x0: int, size_px: int) -> str:
    """The tile's own WCS as header cards, one a line: TAN or SIP, shifted so that lookup tables are met on average."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        header = wcs.to_header(relax=True)
    shift_x, shift_y = _table_shift(wcs, y0, x0, size_px)
    header["CRPIX1"] = wcs.wcs.crpix[0] - x0 + shift_x
    header["CRPIX2"] = wcs.wcs.crpix[1] - y0 + shift_y
    for key in [key for key in header if LOOKUP_CARD.match(key)]:
        del header[key]
    return "\n".join(
        str(card).rstrip() for card in header.cards if card.keyword not in ("DATE-OBS", "MJD-OBS", "MJDREF")
    )


def _table_shift(wcs: WCS, y0: int, x0: int, size_px: int) -> tuple[float, float]:
    if not any((wcs.cpdis1, wcs.cpdis2, wcs.det2im1, wcs.det2im2)):
        return 0.0, 0.0
    x, y = (
        grid.ravel() + start
        for grid, start in zip(np.meshgrid(PROBES * size_px, PROBES * size_px), (x0, y0), strict=True)
    )
    bare = wcs.deepcopy()
    bare.cpdis1 = bare.cpdis2 = bare.det2im1 = bare.det2im2 = None
    try:
        seen_x, seen_y = bare.all_world2pix(*wcs.all_pix2world(x, y, 0), 0)
    except NoConvergence:
        return 0.0, 0.0
    return float(np.mean(x - seen_x)), float(np.mean(y - seen_y))
