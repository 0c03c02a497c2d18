"""The all-sky map: density of tiles per cell in Hammer's equal-area projection, as SVG."""

from __future__ import annotations

import io
from dataclasses import dataclass

import astropy.units as u
import numpy as np
import numpy.typing as npt
from astropy.coordinates import SkyCoord
from mocpy import MOC

Floats = npt.NDArray[np.float64]

NUM_BANDS, MOC_ORDER = 49, 11
"""Number of declination bands, and HEALPix order of the MOC. No band ends at a round declination, such as -30."""
SCALE = 100
"""SVG units per unit of the projection; the map is 400 sqrt(2) SVG units wide and 200 sqrt(2) high."""
NUM_SHADES = 6
EDGE_DECIMALS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A cell of the sky that has tiles: SVG path, shade (1 to `NUM_SHADES`), and value of the search filter `box`."""

    path: str
    shade: int
    box: str
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
    """Draw the density of tiles on the sky; `ra` and `dec` have the shape (n,), in degrees, NaN where unknown."""
    is_placed = np.isfinite(ra) & np.isfinite(dec)
    edges = np.linspace(-90, 90, NUM_BANDS + 1).round(EDGE_DECIMALS)
    band_n = np.clip(np.searchsorted(edges, dec[is_placed], side="right") - 1, 0, NUM_BANDS - 1)
    per_band = np.maximum(1, np.round(2 * NUM_BANDS * np.cos(np.radians((edges[:-1] + edges[1:]) / 2)))).astype(int)
    step_n = ra[is_placed] % 360 * per_band[band_n] // 360
    cells, nums = np.unique(np.stack([band_n, step_n.astype(int)], axis=1), axis=0, return_counts=True)
    shades = np.ceil(np.log1p(nums) / np.log1p(nums.max(initial=1)) * NUM_SHADES).astype(int)
    drawn = []
    for (band, step), num, shade in zip(cells.tolist(), nums.tolist(), shades.tolist(), strict=True):
        west, east = (round(360 * side / int(per_band[band]), EDGE_DECIMALS) for side in (step, step + 1))
        south, north = edges[band], edges[band + 1]
        box = ",".join(f"{edge:.{EDGE_DECIMALS}f}" for edge in (west, east, south, north))
        drawn.append(Cell(path=_outline(west, east, south, north), shade=shade, box=box, num_tiles=num))
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


def _outline(west: float, east: float, south: float, north: float) -> str:
    """Return the outline of a cell as an SVG path, clipped at the edge of the map."""
    along, up = np.linspace(0, 1, 5), np.zeros(5)
    ra_deg = west + (east - west) * np.concatenate([along, up + 1, along[::-1], up])
    dec_deg = south + (north - south) * np.concatenate([up, along, up + 1, along[::-1]])
    centre = ((west + east) / 2 + 180) % 360 - 180
    x, y = hammer(np.clip(ra_deg - (west + east) / 2 + centre, -179.999, 179.999), dec_deg)
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
