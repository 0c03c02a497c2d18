"""The all-sky map: density of tiles per HEALPix cell in Hammer's equal-area projection, as SVG."""

from __future__ import annotations

import io
from dataclasses import dataclass

import astropy.units as u
import numpy as np
import numpy.typing as npt
from astropy.coordinates import SkyCoord
from astropy_healpix import HEALPix
from mocpy import MOC

Floats = npt.NDArray[np.float64]

NSIDE, MOC_ORDER = 16, 11
SCALE = 100
"""Length of the projection's unit in the drawing: the map is 400 sqrt(2) wide and 200 sqrt(2) high."""
NUM_SHADES = 6
CELL_RADIUS_ARCMIN = 160.0
"""Radius of a cone that contains a cell, whose sides are 3.7 degrees long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A cell of the sky with tiles: its outline in the drawing, shade from 1 to `NUM_SHADES`, centre and number."""

    path: str
    shade: int
    ra_deg: float
    dec_deg: float
    num_tiles: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SkyMap:
    """Cells with tiles, and the lines of a map: meridians and parallels, the galactic plane and the ecliptic."""

    cells: list[Cell]
    grid: list[str]
    galactic: list[str]
    ecliptic: list[str]
    num_placed: int


def hammer(ra_deg: npt.ArrayLike, dec_deg: npt.ArrayLike) -> tuple[Floats, Floats]:
    """Project positions by Hammer's equal-area projection; east is to the left, RA 0 in the middle.

    Snyder 1987, USGS Professional Paper 1395, p. 232.
    """
    half = np.radians((np.asarray(ra_deg, float) + 180) % 360 - 180) / 2
    dec = np.radians(np.asarray(dec_deg, float))
    z = np.sqrt(1 + np.cos(dec) * np.cos(half))
    return -SCALE * 2 * np.sqrt(2) * np.cos(dec) * np.sin(half) / z, -SCALE * np.sqrt(2) * np.sin(dec) / z


def draw_sky(ra: Floats, dec: Floats) -> SkyMap:
    """Draw the density of tiles (n,) on the sky; positions in degrees, NaN where unknown."""
    is_placed = np.isfinite(ra) & np.isfinite(dec)
    healpix = HEALPix(NSIDE, order="nested")
    found = healpix.lonlat_to_healpix(ra[is_placed] * u.deg, dec[is_placed] * u.deg)
    cells, nums = np.unique(found, return_counts=True)
    shades = np.ceil(np.log1p(nums) / np.log1p(nums.max(initial=1)) * NUM_SHADES).astype(int)
    lon, lat = healpix.healpix_to_lonlat(cells)
    edges_lon, edges_lat = healpix.boundaries_lonlat(cells, step=3)
    drawn = [
        Cell(
            path=_outline(edge_ra, edge_dec, centre_ra),
            shade=int(shade),
            ra_deg=round(float(centre_ra), 4),
            dec_deg=round(float(centre_dec), 4),
            num_tiles=int(num),
        )
        for edge_ra, edge_dec, centre_ra, centre_dec, shade, num in zip(
            edges_lon.deg, edges_lat.deg, lon.deg, lat.deg, shades, nums, strict=True
        )
    ]
    turn = np.linspace(0, 360, 181)
    galactic = SkyCoord(l=turn * u.deg, b=np.zeros_like(turn) * u.deg, frame="galactic").icrs
    ecliptic = SkyCoord(lon=turn * u.deg, lat=np.zeros_like(turn) * u.deg, frame="barycentrictrueecliptic").icrs
    return SkyMap(
        cells=drawn,
        grid=_graticule(),
        galactic=_lines(galactic.ra.deg, galactic.dec.deg),
        ecliptic=_lines(ecliptic.ra.deg, ecliptic.dec.deg),
        num_placed=int(is_placed.sum()),
    )


def _outline(ra_deg: Floats, dec_deg: Floats, centre_ra_deg: float) -> str:
    """Return the outline of a cell; one that crosses the edge of the map is cut there."""
    offset = (ra_deg - centre_ra_deg + 180) % 360 - 180
    centre = (centre_ra_deg + 180) % 360 - 180
    x, y = hammer(np.clip(centre + offset, -179.999, 179.999), dec_deg)
    return "M" + "L".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True)) + "Z"


def _lines(ra_deg: Floats, dec_deg: Floats) -> list[str]:
    """Return a curve as paths, broken where it crosses the edge of the map."""
    x, y = hammer(ra_deg, dec_deg)
    breaks = np.flatnonzero(np.abs(np.diff(x)) > SCALE) + 1
    parts = zip(np.split(x, breaks), np.split(y, breaks), strict=True)
    return ["M" + "L".join(f"{a:.1f},{b:.1f}" for a, b in zip(*part, strict=True)) for part in parts]


def _graticule() -> list[str]:
    """Return meridians every 2 h and parallels every 30 degrees."""
    span = np.linspace(-90, 90, 91)
    meridians = [_lines(np.full_like(span, ra), span) for ra in (*range(-150, 180, 30), -179.999, 179.999)]
    around = np.linspace(-179.999, 179.999, 121)
    parallels = [_lines(around, np.full_like(around, dec)) for dec in range(-60, 90, 30)]
    return [path for line in meridians + parallels for path in line]


def write_moc(ra: Floats, dec: Floats) -> bytes:
    """Write the coverage of all tiles as a multi-order coverage map (IVOA MOC 2.0)."""
    is_placed = np.isfinite(ra) & np.isfinite(dec)
    moc = MOC.from_lonlat(ra[is_placed] * u.deg, dec[is_placed] * u.deg, max_norder=MOC_ORDER)
    content = io.BytesIO()
    moc.serialize(format="fits").writeto(content)
    return content.getvalue()
