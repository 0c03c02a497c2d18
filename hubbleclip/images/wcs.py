"""Positions on the sky: read the WCS of an image, and compute the WCS of each tile that is cut from the image."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from astropy.io import fits as pyfits
from astropy.wcs import WCS
from astropy.wcs.wcs import NoConvergence
from numpy.typing import NDArray

WCS_CARD = re.compile(
    r"(WCSAXES|NAXIS[12]?|C(TYPE|RVAL|RPIX|DELT|UNIT|ROTA)[12]|(CD|PC)[12]_[12]|PC00[12]00[12]|PV[12]_\d+|LONPOLE|LATPOLE"
    r"|RADESYS|RADECSYS|EQUINOX|EPOCH|[AB]P?_(ORDER|DMAX|\d_\d)|(CPDIS|DP|DQ|D2IM|CPERR|AXISCORR).*)$"
)
"""Matches the header cards that define a celestial WCS, including SIP and lookup-table distortion.

All other cards are ignored.
"""
LOOKUP_CARD = re.compile(r"(CPDIS|DP\d|D2IM|CPERR|AXISCORR)")
"""Matches the cards that refer to lookup tables in other extensions. A tile's header is stored without these tables."""
PLANE_COLUMNS = ("CRVAL1", "CRVAL2", "CRPIX1", "CRPIX2", "CD1_1", "CD1_2", "CD2_1", "CD2_2")
"""Table columns in the file of a WFPC2 cube; each row of the table contains the WCS of one plane."""
PROBES = np.linspace(0.1, 0.9, 5)
"""Positions along a tile's sides, as fractions of the side, at which the shift by the lookup tables is evaluated."""
CORNERS_AND_CENTRE = ((0, 0), (0, 1), (1, 1), (1, 0), (0.5, 0.5))
"""Positions (y, x) of a tile's corners and centre in units of its side; (0, 0) is the first pixel's outer corner."""
SIP_TERM = re.compile(r"[AB]P?_(\d)_(\d)$")
"""Matches the keyword of a SIP coefficient. The two digits are the powers of the pixel offsets in x and y."""
SIP_ORDERS = ("A_ORDER", "B_ORDER", "AP_ORDER", "BP_ORDER")
MAX_SIP_ORDER = 9
"""Largest order of the SIP convention. For a larger order, astropy would take minutes to look for all coefficients."""
DATES = ("DATE-OBS", "MJD-OBS", "MJDREF")
"""Cards that astropy adds to a WCS header although they do not describe the geometry."""
BAD_WCS = (ValueError, LookupError, TypeError, AttributeError, OSError, MemoryError, OverflowError, UnboundLocalError)
"""Exceptions that astropy raises for inconsistent headers: astropy's WcsError, which is a subclass of ValueError;
UnboundLocalError for a polynomial D2IM correction; and others.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class TileGeometry:
    """Position of a tile on the sky.

    `ra_deg` and `dec_deg` are the tile's centre in ICRS degrees. `corners_deg` holds 8 numbers, ra and dec of the four
    outer corners in turn. `wcs` is the text of a FITS header for the tile, one card per line. The header counts rows
    upwards as FITS does, so its first row is the last row of the stored picture.
    """

    ra_deg: float
    dec_deg: float
    corners_deg: list[float]
    pixel_scale_arcsec: float
    wcs: str


def read_wcs(hdus: pyfits.HDUList, extension: int, plane: int) -> WCS | None:
    """Read the celestial WCS of an image, with its lookup tables if the file has them; None if it is unusable."""
    header = hdus[extension].header
    cards = pyfits.Header([card for card in header.cards if WCS_CARD.match(card.keyword)])
    cards["NAXIS"] = 2
    if any(cards.get(key, 0) not in range(MAX_SIP_ORDER + 1) for key in SIP_ORDERS):
        return None
    # A number such as 1E400 is read as infinity.
    if any(isinstance(value, float) and not math.isfinite(value) for value in cards.values()):
        return None
    if plane:
        try:
            cards = _plane_header(hdus, cards, plane)
        except (*BAD_WCS, AssertionError):  # astropy asserts that a table's columns have valid names
            return None
    plain = pyfits.Header([card for card in cards.cards if not LOOKUP_CARD.match(card.keyword)])
    # If the lookup tables cannot be read, the WCS without them is still accurate to a fraction of a pixel.
    for header, file in ((cards, hdus), (plain, None)) if len(plain) < len(cards) else ((plain, None),):
        try:
            wcs = WCS(header, fobj=file, naxis=2)
        except BAD_WCS:
            continue
        if _is_usable(wcs):
            return wcs
    return None


def parse_wcs(text: str | None) -> WCS | None:
    """Read the WCS of a tile from its header text; None if the text is missing or its WCS is not usable."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            wcs = WCS(pyfits.Header.fromstring(text or "", sep="\n"), naxis=2)
    except BAD_WCS:
        return None
    return wcs if _is_usable(wcs) else None


def _plane_header(hdus: pyfits.HDUList, header: pyfits.Header, plane: int) -> pyfits.Header:
    """Return a copy of the header with the WCS of one plane of a WFPC2 cube; the file's first table contains this WCS.

    The header is empty if the file has no such table or the table has no row for the plane.
    """
    table = next((hdu for hdu in hdus if isinstance(hdu, (pyfits.TableHDU, pyfits.BinTableHDU))), None)
    if table is None or not set(PLANE_COLUMNS) <= set(table.columns.names) or len(table.data) <= plane:
        return pyfits.Header()
    changed = header.copy()
    for name in PLANE_COLUMNS:
        changed[name] = float(table.data[name][plane])
    return changed


def _is_usable(wcs: WCS) -> bool:
    """Return whether the WCS maps two different pixels to different, finite positions on the sky."""
    if not wcs.has_celestial:
        return False
    try:
        sky = wcs.all_pix2world([[0, 0], [100, 50]], 0)
    except BAD_WCS:
        return False
    return bool(np.isfinite(sky).all()) and bool(np.ptp(sky, axis=0).max() > 0)


def tile_geometries(
    wcs: WCS, starts_yx: Sequence[tuple[int, int]], size: int | tuple[int, int]
) -> list[TileGeometry | None]:
    """Compute the sky positions of equally large tiles by one call of the WCS; `size` is a side, or (height, width)."""
    starts = np.array(starts_yx, np.float64).reshape(-1, 1, 2)
    # Integer coordinates are the centres of pixels, so the outer corner of a pixel is at -0.5. astropy takes (x, y).
    points_xy = (starts + np.array(CORNERS_AND_CENTRE) * size - 0.5)[:, :, ::-1]
    icrs = _to_icrs(wcs, points_xy.reshape(-1, 2)).reshape(len(starts), -1)
    scale_arcsec = math.sqrt(pixel_area_deg2(wcs)) * 3600
    texts = _header_texts(wcs, starts_yx, size)
    return [
        TileGeometry(ra_deg=ra, dec_deg=dec, corners_deg=corners, pixel_scale_arcsec=scale_arcsec, wcs=text)
        if all(map(math.isfinite, (*corners, ra, dec)))
        else None
        for (*corners, ra, dec), text in zip(icrs.tolist(), texts, strict=True)
    ]


def pixel_area_deg2(wcs: WCS) -> float:
    """Compute the area of a pixel at the reference point of a WCS.

    astropy's `proj_plane_pixel_area` gives the same result, but it first copies the WCS. The copy takes as long as the
    computation of ten tiles' sky positions.
    """
    return float(np.abs(np.linalg.det(wcs.pixel_scale_matrix)))


def field_geometry(
    wcs: WCS, shape_yx: tuple[int, int], shrink: float, start_yx: tuple[int, int]
) -> TileGeometry | None:
    """Compute the position on the sky of an overview tile, which shows a whole image downsampled."""
    (whole,) = tile_geometries(wcs, [(0, 0)], shape_yx)
    if whole is None:
        return None
    text = _downsampled_header(whole.wcs, shrink, start_yx)
    return replace(whole, pixel_scale_arcsec=whole.pixel_scale_arcsec * shrink, wcs=text)


def _downsampled_header(text: str, shrink: float, start_yx: tuple[int, int]) -> str:
    """Convert an image's header text for an overview tile; `start_yx` is the tile's start in the downsampled image."""
    header = pyfits.Header.fromstring(text, sep="\n")
    for axis, start in ((1, start_yx[1]), (2, start_yx[0])):
        # CRPIX counts from 1, so the first pixel's edge is at 0.5. Distances from this edge are divided by `shrink`.
        header[f"CRPIX{axis}"] = (header[f"CRPIX{axis}"] - 0.5) / shrink + 0.5 - start
        header[f"CDELT{axis}"] = header.get(f"CDELT{axis}", 1.0) * shrink
    for key in header:
        if term := SIP_TERM.match(key):
            # The term A_p_q * u^p * v^q is an offset in pixels, like u and v. Larger pixels divide all three numbers by
            # `shrink`, so the coefficient A_p_q must be multiplied by shrink^(p + q - 1).
            header[key] *= shrink ** (int(term[1]) + int(term[2]) - 1)
    return "\n".join(str(card).rstrip() for card in header.cards)


def _to_icrs(wcs: WCS, points_xy: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the ICRS positions (n, 2), ra and dec in degrees, of 0-based pixels.

    FK5 of equinox 2000 is treated as ICRS, because the two differ by at most 0.1 arcsec. A missing equinox means 2000.
    All positions are NaN if the frame cannot be converted, for example a frame on the surface of a planet.
    """
    equinox = 2000.0 if math.isnan(wcs.wcs.equinox) else wcs.wcs.equinox or 2000.0
    is_icrs = str(wcs.wcs.radesys or "ICRS").upper() in ("ICRS", "FK5") and abs(equinox - 2000) < 1
    if is_icrs and wcs.wcs.lngtyp == "RA":
        radec: NDArray[np.float64] = wcs.all_pix2world(points_xy, 0)
        return radec if wcs.wcs.lng == 0 else radec[:, ::-1]  # the first axis may be the declination
    try:
        sky = wcs.pixel_to_world(points_xy[:, 0], points_xy[:, 1]).icrs
    except BAD_WCS:
        return np.full(points_xy.shape, np.nan)
    return np.column_stack([sky.ra.deg, sky.dec.deg])


def _header_texts(wcs: WCS, starts_yx: Sequence[tuple[int, int]], size: int | tuple[int, int]) -> list[str]:
    """Return the header text of each tile's WCS, one card per line.

    The header has no lookup tables. Instead, the mean shift that they cause in the tile is added to CRPIX. All other
    cards are the same for all tiles of an image, so they are formatted once.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        header = wcs.to_header(relax=True)
    for key in [key for key in header if LOOKUP_CARD.match(key) or key in DATES]:
        del header[key]
    header.update({"CRPIX1": 0.0, "CRPIX2": 0.0})
    lines, keys = [str(card).rstrip() for card in header.cards], list(header)
    texts, axes = [], [(keys.index(key), key, header.comments[key]) for key in ("CRPIX1", "CRPIX2")]
    crpix = wcs.wcs.crpix.tolist()
    for (y0, x0), shifts in zip(starts_yx, _mean_table_shifts(wcs, starts_yx, size).tolist(), strict=True):
        for (place, key, comment), at, start, shift in zip(axes, crpix, (x0, y0), shifts, strict=True):
            lines[place] = _float_card(key, at - start + shift, comment)
        texts.append("\n".join(lines))
    return texts


@lru_cache(1024)
def _float_card(key: str, value: float, comment: str) -> str:
    """Return the text of a FITS card; cached, because all tiles in a row or column of the grid have the same value."""
    return str(pyfits.Card(key, value, comment)).rstrip()


def _mean_table_shifts(
    wcs: WCS, starts_yx: Sequence[tuple[int, int]], size: int | tuple[int, int]
) -> NDArray[np.float64]:
    """Return the mean shift (x, y) in pixels, (n, 2), that the lookup tables cause in each tile; 0 without tables."""
    no_shift = np.zeros((len(starts_yx), 2))
    if not any((wcs.cpdis1, wcs.cpdis2, wcs.det2im1, wcs.det2im2)):
        return no_shift
    probes_yx = (PROBES * side for side in np.broadcast_to(size, 2))
    grid_yx = np.stack(np.meshgrid(*probes_yx, indexing="ij"), axis=-1).reshape(1, -1, 2)
    points_xy = (np.array(starts_yx)[:, None] + grid_yx)[:, :, ::-1].reshape(-1, 2)
    without_tables = wcs.deepcopy()
    without_tables.cpdis1 = without_tables.cpdis2 = without_tables.det2im1 = without_tables.det2im2 = None
    try:
        shifted_xy = without_tables.all_world2pix(wcs.all_pix2world(points_xy, 0), 0)
    except NoConvergence:  # at least one point has no solution, so the tiles are tried one by one
        if len(starts_yx) == 1:
            return no_shift
        return np.concatenate([_mean_table_shifts(wcs, [start], size) for start in starts_yx])
    shifts: NDArray[np.float64] = (points_xy - shifted_xy).reshape(len(starts_yx), -1, 2).mean(axis=1)
    return shifts
