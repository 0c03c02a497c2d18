"""Positions on the sky: the WCS of an image, and of a tile cut from it."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
"""Header cards that define a celestial WCS, with SIP and lookup-table distortion; all others are ignored."""
LOOKUP_CARD = re.compile(r"(CPDIS|DP\d|D2IM|CPERR|AXISCORR)")
"""Cards that refer to lookup tables in other extensions, which a tile does not have."""
PLANE_COLUMNS = ("CRVAL1", "CRVAL2", "CRPIX1", "CRPIX2", "CD1_1", "CD1_2", "CD2_1", "CD2_2")
"""Columns of the table in WFPC2's cubes that holds the WCS of each chip."""
PROBES = np.linspace(0.1, 0.9, 5)
"""Where the lookup tables' shift is evaluated, along each side of a tile, in sides."""
CORNERS_AND_CENTRE = ((0, 0), (0, 1), (1, 1), (1, 0), (0.5, 0.5))
"""(y, x) from the outer corner of a tile's first pixel, in sides of the tile."""
SIP_TERM = re.compile(r"[AB]P?_(\d)_(\d)$")
"""A SIP coefficient; its digits are the powers of the pixel offsets."""
DATES = ("DATE-OBS", "MJD-OBS", "MJDREF")
"""Cards that astropy adds but that are not part of a tile's geometry."""
VALUE_CHARACTERS = 20
"""Width of a number in a FITS card."""
CARD_PLACEHOLDER = "\0"
"""Marks the position of a card that differs between tiles; no header contains it."""
BAD_WCS = (ValueError, KeyError, TypeError, AttributeError, IndexError, OSError, MemoryError, OverflowError)
"""What astropy raises on inconsistent headers; its own WcsError is a ValueError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TileGeometry:
    """Position of a tile: centre and outer corners in ICRS degrees by the full WCS, and the tile's own header.

    `corners_deg` are ra and dec of four corners in turn, 8 numbers. `wcs` is FITS header text, one card per line, which
    counts pixels as FITS does, from the lowest row up: the last row of the stored picture is its first.
    """

    ra_deg: float
    dec_deg: float
    corners_deg: list[float]
    pixel_scale_arcsec: float
    wcs: str


def read_wcs(hdus: pyfits.HDUList, extension: int, plane: int) -> WCS | None:
    """Read the celestial WCS of an image, with its distortion lookup tables where the file has them.

    Parameters
    ----------
    hdus : HDUList
        The open file, which holds the lookup tables.
    extension : int
        Index of the image's HDU.
    plane : int
        Plane of a cube; in WFPC2's cubes the row of the table with the WCS of each chip.

    Returns
    -------
    wcs : WCS or None
        None where the header has no usable one. Without the tables that the header refers to, TAN or SIP alone, at
        most 0.2 px off.
    """
    header = hdus[extension].header
    cards = pyfits.Header([card for card in header.cards if WCS_CARD.match(card.keyword)])
    cards["NAXIS"] = 2
    if plane:
        try:
            cards = _plane_header(hdus, cards, plane)
        except (*BAD_WCS, AssertionError):  # astropy asserts on the names of columns
            return None
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
    """The header with the WCS of another chip of a WFPC2 cube, from the file's table; empty where that is missing."""
    table = next((hdu for hdu in hdus if isinstance(hdu, (pyfits.TableHDU, pyfits.BinTableHDU))), None)
    if table is None or not set(PLANE_COLUMNS) <= set(table.columns.names) or len(table.data) <= plane:
        return pyfits.Header()
    changed = header.copy()
    for name in PLANE_COLUMNS:
        changed[name] = float(table.data[name][plane])
    return changed


def _is_usable(wcs: WCS) -> bool:
    """Whether the WCS maps different pixels to different finite positions on the sky."""
    if not wcs.has_celestial:
        return False
    try:
        sky = wcs.all_pix2world([[0, 0], [100, 50]], 0)
    except BAD_WCS:
        return False
    return bool(np.isfinite(sky).all()) and bool(np.ptp(sky, axis=0).max() > 0)


def tile_geometry(wcs: WCS, y0: int, x0: int, size_px: int) -> TileGeometry | None:
    """Geometry of one tile.

    Parameters
    ----------
    wcs : WCS
        Of the image.
    y0, x0 : int
        First pixel of the tile, 0-based; may be outside the image.
    size_px : int
        Side of the tile.

    Returns
    -------
    geometry : TileGeometry or None
        None where the WCS gives no finite position.
    """
    return tile_geometries(wcs, [(y0, x0)], size_px)[0]


def tile_geometries(wcs: WCS, starts_yx: Sequence[tuple[int, int]], size_px: int) -> list[TileGeometry | None]:
    """Geometries of the tiles of an image, with one call of the WCS for the points of all.

    Parameters
    ----------
    wcs : WCS
        Of the image.
    starts_yx : sequence of (y0, x0)
        First pixels of the tiles, 0-based; may be outside the image.
    size_px : int
        Side of a tile.

    Returns
    -------
    geometries : list of TileGeometry or None
        One per tile, None where the WCS gives no finite position.
    """
    starts = np.array(starts_yx, np.float64).reshape(-1, 1, 2)
    # The centre of a pixel has whole numbers, thus its outer corner is at -0.5. astropy takes (x, y).
    points_xy = (starts + np.array(CORNERS_AND_CENTRE) * size_px - 0.5)[:, :, ::-1]
    icrs = _to_icrs(wcs, points_xy.reshape(-1, 2)).reshape(-1, len(CORNERS_AND_CENTRE), 2)
    is_good = np.asarray(np.isfinite(icrs).all(axis=(1, 2)))
    scale_arcsec = math.sqrt(pixel_area_deg2(wcs)) * 3600
    texts = _header_texts(wcs, starts_yx, size_px)
    return [
        TileGeometry(ra_deg=ra, dec_deg=dec, corners_deg=corners, pixel_scale_arcsec=scale_arcsec, wcs=text)
        if good
        else None
        for good, (ra, dec), corners, text in zip(
            is_good, icrs[:, 4].tolist(), icrs[:, :4].reshape(-1, 8).tolist(), texts, strict=True
        )
    ]


def pixel_area_deg2(wcs: WCS) -> float:
    """Area of a pixel at the reference point.

    Parameters
    ----------
    wcs : WCS

    Returns
    -------
    area : float
        In square degrees.

    Notes
    -----
    Equals astropy's `proj_plane_pixel_area`, which copies the WCS and takes as long as ten tiles.
    """
    return float(np.abs(np.linalg.det(wcs.pixel_scale_matrix)))


def field_geometry(
    wcs: WCS, shape_yx: tuple[int, int], shrink: float, start_yx: tuple[int, int]
) -> TileGeometry | None:
    """Geometry of an overview tile, which shows a whole image downsampled.

    Parameters
    ----------
    wcs : WCS
        Of the image.
    shape_yx : (int, int)
        Of the image, px.
    shrink : float
        Image pixels per side of an overview pixel.
    start_yx : (int, int)
        First pixel of the tile in the downsampled image; negative where the tile is padded.

    Returns
    -------
    geometry : TileGeometry or None
        Centre and corners are those of the image, without the padding. None where the WCS gives no finite position.
    """
    icrs = _to_icrs(wcs, (np.array(CORNERS_AND_CENTRE) * shape_yx - 0.5)[:, ::-1])
    if not np.isfinite(icrs).all():
        return None
    scale_arcsec = math.sqrt(pixel_area_deg2(wcs)) * 3600
    text = _downsampled_header(_header_texts(wcs, [(0, 0)], max(shape_yx))[0], shrink, start_yx)
    corners = icrs[:4].ravel().tolist()
    return TileGeometry(
        ra_deg=float(icrs[4, 0]),
        dec_deg=float(icrs[4, 1]),
        corners_deg=corners,
        pixel_scale_arcsec=scale_arcsec * shrink,
        wcs=text,
    )


def _downsampled_header(text: str, shrink: float, start_yx: tuple[int, int]) -> str:
    """Header text of a downsampled image; parameters as for `field_geometry`."""
    header = pyfits.Header.fromstring(text, sep="\n")
    for axis, start in ((1, start_yx[1]), (2, start_yx[0])):
        # CRPIX is 1-based: pixel edges, at half-integers, are what scales.
        header[f"CRPIX{axis}"] = (header[f"CRPIX{axis}"] - 0.5) / shrink + 0.5 - start
        header[f"CDELT{axis}"] = header.get(f"CDELT{axis}", 1.0) * shrink
    for key in header:
        if term := SIP_TERM.match(key):
            # A term A_p_q * u^p * v^q is an offset in px, as u and v are: p + q powers of `shrink` against one.
            header[key] *= shrink ** (int(term[1]) + int(term[2]) - 1)
    return "\n".join(str(card).rstrip() for card in header.cards)


def _to_icrs(wcs: WCS, points_xy: NDArray[np.float64]) -> NDArray[np.float64]:
    """ICRS positions (n, 2), ra and dec in degrees, of 0-based pixels; NaN in an unknown frame (of another planet).

    FK5 of equinox 2000 is used as ICRS: they differ by at most 0.1 arcsec. A missing equinox means 2000.
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


def _header_texts(wcs: WCS, starts_yx: Sequence[tuple[int, int]], size_px: int) -> list[str]:
    """The tiles' own WCS as header text, one card per line: TAN or SIP, shifted by the lookup tables' mean over a tile.

    The cards but CRPIX are the same for all tiles of an image, so they are written once.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        header = wcs.to_header(relax=True)
    for key in [key for key in header if LOOKUP_CARD.match(key) or key in DATES]:
        del header[key]
    comments, crpix = [], wcs.wcs.crpix.tolist()
    for axis in (1, 2):
        header[f"CRPIX{axis}"] = 0.0
        comments.append(header.comments[f"CRPIX{axis}"])
    lines = [str(card).rstrip() for card in header.cards]
    for axis in (1, 2):
        lines[next(n for n, line in enumerate(lines) if line.startswith(f"CRPIX{axis}"))] = CARD_PLACEHOLDER
    before, between, after = "\n".join(lines).split(CARD_PLACEHOLDER)
    texts = []
    for (y0, x0), shifts in zip(starts_yx, _mean_table_shifts(wcs, starts_yx, size_px).tolist(), strict=True):
        cards = [
            _float_card(f"CRPIX{axis + 1}", crpix[axis] - start + shifts[axis], comments[axis])
            for axis, start in enumerate((x0, y0))
        ]
        texts.append(f"{before}{cards[0]}{between}{cards[1]}{after}")
    return texts


@lru_cache(1024)
def _float_card(key: str, value: float, comment: str) -> str:
    """A card of a float with the text that astropy writes, in a thirtieth of its time.

    Cached because the tiles of a row or column of the grid share a value.
    """
    text = repr(value).replace("e", "E")
    if len(text) > VALUE_CHARACTERS:  # astropy rounds it
        return str(pyfits.Card(key, value, comment)).rstrip()
    return f"{key:8}= {text:>{VALUE_CHARACTERS}}" + (f" / {comment}" if comment else "")


def _mean_table_shifts(wcs: WCS, starts_yx: Sequence[tuple[int, int]], size_px: int) -> NDArray[np.float64]:
    """Mean shift (n, 2) of the pixels of each tile by the lookup tables, x and y in px; 0 without tables."""
    no_shift = np.zeros((len(starts_yx), 2))
    if not any((wcs.cpdis1, wcs.cpdis2, wcs.det2im1, wcs.det2im2)):
        return no_shift
    grid_yx = np.stack(np.meshgrid(PROBES * size_px, PROBES * size_px, indexing="ij"), axis=-1).reshape(1, -1, 2)
    points_xy = (np.array(starts_yx)[:, None] + grid_yx)[:, :, ::-1].reshape(-1, 2)
    without_tables = wcs.deepcopy()
    without_tables.cpdis1 = without_tables.cpdis2 = without_tables.det2im1 = without_tables.det2im2 = None
    try:
        shifted_xy = without_tables.all_world2pix(wcs.all_pix2world(points_xy, 0), 0)
    except NoConvergence:  # of any point of any tile: find out which
        if len(starts_yx) == 1:
            return no_shift
        return np.concatenate([_mean_table_shifts(wcs, [start], size_px) for start in starts_yx])
    shifts: NDArray[np.float64] = (points_xy - shifted_xy).reshape(len(starts_yx), -1, 2).mean(axis=1)
    return shifts
