"""What the page of a tile shows beside its facts: sky grid, orientation, scale bar, links and region."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

from hubbleclip.core.vectors import unit
from hubbleclip.missions import MISSIONS

NUM_GRID = 17
"""Points of the sky grid along each side of a tile. Between them the page interpolates unit vectors."""
BAR_SHARE = 0.3
SAFE_URI = re.compile(r"[a-z][a-z0-9]*:[\w./+-]+", re.ASCII)
STSCI = "https://www.stsci.edu/"
DOWNLOAD = "https://mast.stsci.edu/api/v0.1/Download/file?"


@dataclass(frozen=True, slots=True, kw_only=True)
class SkyView:
    """Geometry of a tile's picture.

    Attributes
    ----------
    grid
        ICRS positions, (ra, dec) in degrees, of `NUM_GRID` x `NUM_GRID` points of the picture, row by row from the top
        left corner to the bottom right corner.
    north_xy, east_xy
        Directions of north and east in the picture, of length 1; x to the right, y downwards.
    bar_share
        Length of the scale bar, in sides of the picture.
    bar_label
        Length of the scale bar on the sky.

    """

    grid: list[list[float]]
    north_xy: tuple[float, float]
    east_xy: tuple[float, float]
    bar_share: float
    bar_label: str


def sky_view(wcs_text: str, size_px: int) -> SkyView | None:
    """Compute the geometry of a tile's picture.

    Parameters
    ----------
    wcs_text
        FITS header cards of the tile's WCS, one per line.
    size_px
        Side of the tile in pixels.

    Returns
    -------
    SkyView or None
        The geometry; None if the WCS is unusable.

    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            wcs = WCS(fits.Header.fromstring(wcs_text, sep="\n"), naxis=2)
            steps = np.linspace(0, size_px, NUM_GRID)
            x, y = np.meshgrid(steps, steps)
            # The first row of the header is the last row of the picture; FITS pixel centres are at whole numbers.
            sky = wcs.pixel_to_world(x.ravel() - 0.5, size_px - 0.5 - y.ravel()).icrs
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    ra, dec = np.radians(sky.ra.deg), np.radians(sky.dec.deg)
    if not np.isfinite([ra, dec]).all():
        return None
    points = np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=-1)
    points = points.reshape(NUM_GRID, NUM_GRID, 3)
    middle = NUM_GRID // 2
    step = size_px / (NUM_GRID - 1)
    right = (points[middle, middle + 1] - points[middle, middle - 1]) / (2 * step)
    down = (points[middle + 1, middle] - points[middle - 1, middle]) / (2 * step)
    ra0, dec0 = ra.reshape(NUM_GRID, -1)[middle, middle], dec.reshape(NUM_GRID, -1)[middle, middle]
    north = np.array([-np.sin(dec0) * np.cos(ra0), -np.sin(dec0) * np.sin(ra0), np.cos(dec0)])
    east = np.array([-np.sin(ra0), np.cos(ra0), 0.0])
    scale_rad = math.sqrt(np.linalg.norm(np.cross(right, down)))
    bar_arcsec = round_length(math.degrees(scale_rad) * 3600 * size_px * BAR_SHARE)
    grid = np.round(np.stack([sky.ra.deg, sky.dec.deg], axis=-1), 8).tolist()
    return SkyView(
        grid=grid, north_xy=_direction(north, right, down), east_xy=_direction(east, right, down),
        bar_share=bar_arcsec / (math.degrees(scale_rad) * 3600 * size_px), bar_label=angle_label(bar_arcsec),
    )  # fmt: skip


def _direction(target: Any, right: Any, down: Any) -> tuple[float, float]:
    """Return a direction on the sky as a direction in the picture, given the sky's change along each axis."""
    basis = np.stack([right, down], axis=-1)
    x, y = unit(np.linalg.lstsq(basis, target, rcond=None)[0])
    return round(float(x), 4), round(float(y), 4)


def round_length(longest: float) -> float:
    """Return the largest length of the form 1, 2 or 5 times a power of ten that is not above a length.

    Parameters
    ----------
    longest
        Any length above 0.

    Returns
    -------
    float
        The round length.

    """
    power = 10.0 ** math.floor(math.log10(longest))
    return max(step * power for step in (1, 2, 5) if step * power <= longest * (1 + 1e-9))


def angle_label(arcsec: float) -> str:
    """Format an angle.

    Parameters
    ----------
    arcsec
        Angle in arcseconds.

    Returns
    -------
    str
        Text with the sign of the unit, such as `5″` or `2′`.

    """
    return f"{arcsec:g}″" if arcsec < 60 else f"{arcsec / 60:.3g}′"


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A link to another site, which only a person's click opens."""

    text: str
    url: str


def sky_links(facts: Mapping[str, Any]) -> list[Link]:
    """Return links to sky atlases at the tile's place.

    Parameters
    ----------
    facts
        Facts of the tile.

    Returns
    -------
    list of Link
        Links; none without a position.

    """
    if facts.get("ra_deg") is None or facts.get("dec_deg") is None:
        return []
    target = f"{facts['ra_deg']:.6f} {facts['dec_deg']:+.6f}"
    fov = max((facts.get("pixel_scale_arcsec") or 0.1) * (facts.get("size_px") or 224) / 3600 * 2, 0.005)
    aladin = urlencode({"target": target, "fov": f"{fov:.4f}"}, quote_via=quote)
    esasky = urlencode({"target": target, "fov": f"{fov:.4f}", "cooframe": "J2000", "sci": "true"}, quote_via=quote)
    return [
        Link(text="Aladin Lite", url=f"https://aladin.cds.unistra.fr/AladinLite/?{aladin}"),
        Link(text="ESASky", url=f"https://sky.esa.int/esasky/?{esasky}"),
    ]


def archive_links(facts: Mapping[str, Any]) -> list[Link]:
    """Return links to the tile's observation, programme and file at MAST and STScI.

    Parameters
    ----------
    facts
        Facts of the tile.

    Returns
    -------
    list of Link
        Links; none for an archive that these sites do not have, such as the simulated one.

    """
    archive, _, number = str(facts.get("proposal_id") or "").partition(":")
    mission = MISSIONS.get(archive)
    if mission is None:
        return []
    links, obs_id, uri = [], facts.get("obs_id"), facts.get("product_uri")
    if obs_id:
        name = quote(str(obs_id), safe="")
        links.append(Link(text="Observation at MAST", url=mission.observation_page.format(name, name.upper())))
    programme = STSCI + mission.proposals.page.format(quote(number, safe=""))
    links.append(Link(text=f"Programme {number}", url=programme))
    if uri:
        links.append(Link(text="FITS file", url=DOWNLOAD + urlencode({"uri": uri})))
    return links


def download_command(facts: Mapping[str, Any]) -> str | None:
    """Return the command that downloads the tile's FITS file.

    Parameters
    ----------
    facts
        Facts of the tile.

    Returns
    -------
    str or None
        A line for a shell; None if the archive has no such file, or its name has characters that a shell would read.

    """
    uri = str(facts.get("product_uri") or "")
    if not archive_links(facts) or not SAFE_URI.fullmatch(uri):
        return None
    return f"python -c 'from astroquery.mast import Observations; Observations.download_file(\"{uri}\")'"


def ds9_region(tile_id: str, facts: Mapping[str, Any]) -> str | None:
    """Write the footprint of a tile as a DS9 region file.

    Parameters
    ----------
    tile_id
        Id of the tile, which labels the region.
    facts
        Facts of the tile, with `corners_deg`.

    Returns
    -------
    str or None
        Content of the file; None without corners.

    """
    corners = facts.get("corners_deg")
    if corners is None or len(corners) != 8:
        return None
    numbers = ",".join(f"{number:.8f}" for number in corners)
    return f"# Region file format: DS9 version 4.1\nicrs\npolygon({numbers}) # text={{{tile_id}}}\n"
