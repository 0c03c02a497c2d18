"""Parts of a tile's page: sky grid, orientation, scale bar, tiles in other filters, download command and DS9 region."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hubbleclip.core.vectors import unit_vectors
from hubbleclip.fits.positions import Compass, make_compass
from hubbleclip.images.wcs import parse_wcs
from hubbleclip.missions.links import archive_links
from hubbleclip.search.engine import Search
from hubbleclip.search.params import SearchParams
from hubbleclip.search.records import GroupBy, Sort

NUM_GRID = 17
"""Points per side of the grid at which sky positions of a tile are computed; the page interpolates between points."""
MAX_NEAR, MAX_BLINKED = 200, 7
"""Maximum number of nearby tiles that are examined, and maximum number of other filters that are listed."""
SAFE_URI = re.compile(r"[a-z][a-z0-9]*:[\w./+-]+", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class SkyView:
    """Geometry of a tile's picture.

    Attributes
    ----------
    grid
        ICRS positions, (ra, dec) in degrees, of `NUM_GRID` x `NUM_GRID` points of the picture, row by row from the top
        left corner to the bottom right corner.
    compass
        Orientation and scale.

    """

    grid: list[list[float]]
    compass: Compass


def sky_view(wcs_text: str, size_px: int) -> SkyView | None:
    """Compute the geometry of a tile's picture."""
    wcs = parse_wcs(wcs_text)
    if wcs is None:
        return None
    steps = np.linspace(0, size_px, NUM_GRID)
    x, y = np.meshgrid(steps, steps)
    # In the WCS, rows are counted from the bottom of the picture, and pixel centres have integer coordinates.
    sky = wcs.pixel_to_world(x.ravel() - 0.5, size_px - 0.5 - y.ravel()).icrs
    if not np.isfinite([sky.ra.deg, sky.dec.deg]).all():
        return None
    points = unit_vectors(sky.ra.deg, sky.dec.deg).reshape(NUM_GRID, NUM_GRID, 3)
    middle = NUM_GRID // 2
    step = size_px / (NUM_GRID - 1)
    right = (points[middle, middle + 1] - points[middle, middle - 1]) / (2 * step)
    down = (points[middle + 1, middle] - points[middle - 1, middle]) / (2 * step)
    side_arcsec = math.degrees(math.sqrt(np.linalg.norm(np.cross(right, down)))) * 3600 * size_px
    grid = np.round(np.stack([sky.ra.deg, sky.dec.deg], axis=-1), 8).tolist()
    return SkyView(grid=grid, compass=make_compass(points[middle, middle], right, down, side_arcsec))


def other_filters(search: Search, facts: Mapping[str, Any]) -> dict[str, str]:
    """For each filter except the tile's own, find the nearest tile whose centre is at most half a tile's side away."""
    ra_deg, dec_deg, scale_arcsec = (facts.get(name) for name in ("ra_deg", "dec_deg", "pixel_scale_arcsec"))
    if ra_deg is None or dec_deg is None or not scale_arcsec or facts.get("is_moving"):
        return {}
    radius_deg = scale_arcsec * (facts.get("size_px") or 0) / 2 / 3600
    place = f"{ra_deg:.7f} {dec_deg:.7f} {radius_deg:.7f}"
    found: dict[str, str] = {}
    for hit in search.run(SearchParams(place=place, group=GroupBy.NONE, sort=Sort.DISTANCE, k=MAX_NEAR)).hits:
        if (name := hit.facts.get("filter")) and name != facts.get("filter"):
            found.setdefault(name, hit.tile_id)
    return dict(sorted(found.items())[:MAX_BLINKED])


def download_command(facts: Mapping[str, Any]) -> str | None:
    """Return the command that downloads the tile's FITS file."""
    uri = str(facts.get("product_uri") or "")
    if not archive_links(facts) or not SAFE_URI.fullmatch(uri):
        return None
    return f"python -c 'from astroquery.mast import Observations; Observations.download_file(\"{uri}\")'"


def ds9_region(tile_id: str, facts: Mapping[str, Any]) -> str | None:
    """Write the footprint of a tile as a DS9 region file."""
    corners = facts.get("corners_deg")
    if corners is None or len(corners) != 8:
        return None
    numbers = ",".join(f"{number:.8f}" for number in corners)
    return f"# Region file format: DS9 version 4.1\nicrs\npolygon({numbers}) # text={{{tile_id}}}\n"
