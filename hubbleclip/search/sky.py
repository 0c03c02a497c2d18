"""Positions on the sky for the search: of tiles, of patches that hits are grouped by, of cones around named targets."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hubbleclip.core.errors import SearchError
from hubbleclip.search.query import Cone

PATCH_NSIDE = 1024
"""HEALPix resolution of a patch of sky; its side is 3.4 arcmin, about the field of a camera of Hubble."""
MIN_RADIUS_DEG = 0.05
"""Smallest radius of a cone around a target; its tiles may lie beside the position of the observation."""
MAX_TARGET_DEG = 2.0
"""Largest distance of observations of one target; names such as `ANY` cover the whole sky."""
DECIMAL_POSITION = re.compile(r"\s*([0-9]+(?:\.[0-9]*)?)[\s,]+([+-]?[0-9]+(?:\.[0-9]*)?)\s*")
CatalogTarget = Callable[[str], tuple[float, float, float] | None]
"""Function that finds a target in the catalog: right ascension, declination and extent in degrees, or None."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sky:
    """Positions of all tiles: unit vectors (n, 3), NaN where unknown, and the side of each tile in radians."""

    xyz_n3: npt.NDArray[np.float64]
    side_n: npt.NDArray[np.float64]

    @classmethod
    def of(
        cls, ra_deg: npt.NDArray[np.float64], dec_deg: npt.NDArray[np.float64], side_deg: npt.NDArray[np.float64]
    ) -> Sky:
        """Compute the unit vectors.

        Parameters
        ----------
        ra_deg, dec_deg
            Positions in degrees, shape (n,); NaN where unknown.
        side_deg
            Sides of the tiles in degrees; NaN where unknown.

        Returns
        -------
        Sky
            Positions of all tiles.

        """
        ra, dec = np.radians(ra_deg), np.radians(dec_deg)
        xyz_n3 = np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=1)
        return cls(xyz_n3=xyz_n3, side_n=np.radians(side_deg))


def patch_numbers(ra_deg: npt.NDArray[np.float64], dec_deg: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Number the patches of sky that positions lie in.

    Parameters
    ----------
    ra_deg, dec_deg
        Positions in degrees, shape (n,); NaN where unknown.

    Returns
    -------
    ndarray
        Consecutive numbers from 0 of HEALPix cells; -1 where the position is unknown.

    """
    from astropy.units import deg  # noqa: PLC0415
    from astropy_healpix import lonlat_to_healpix  # noqa: PLC0415 - imports astropy, which few searches need

    number_n = np.full(len(ra_deg), -1)
    is_known_n = np.isfinite(ra_deg) & np.isfinite(dec_deg)
    cells = lonlat_to_healpix(ra_deg[is_known_n] * deg, dec_deg[is_known_n] * deg, PATCH_NSIDE, order="nested")
    number_n[is_known_n] = np.unique(cells, return_inverse=True)[1]
    return number_n


def resolve_name(name: str, in_catalog: CatalogTarget, radius_deg: float | None = None) -> Cone:
    """Turn a name or a position into a cone; see `Search.resolve_target`.

    Parameters
    ----------
    name
        Name of a target, or a position.
    in_catalog
        Function that finds a target in the catalog.
    radius_deg
        Radius of the cone; None for a default.

    Returns
    -------
    Cone
        Circle around the target.

    Raises
    ------
    SearchError
        If nothing has this name.

    """
    if match := DECIMAL_POSITION.fullmatch(name):
        ra_deg, dec_deg = float(match[1]), float(match[2])
        if ra_deg >= 360 or abs(dec_deg) > 90:
            raise SearchError(f"{name.strip()} is no position: give RA (0 to 360) and Dec (-90 to 90) in degrees")
        return Cone(ra_deg=ra_deg, dec_deg=dec_deg, radius_deg=MIN_RADIUS_DEG if radius_deg is None else radius_deg)
    found = in_catalog(name)
    if found and found[2] <= MAX_TARGET_DEG:
        return Cone(ra_deg=found[0], dec_deg=found[1], radius_deg=radius_deg or max(found[2], MIN_RADIUS_DEG))
    ra_deg, dec_deg = _by_astropy(name)
    return Cone(ra_deg=ra_deg, dec_deg=dec_deg, radius_deg=radius_deg or MIN_RADIUS_DEG)


def _by_astropy(name: str) -> tuple[float, float]:
    """Parse a sexagesimal position, or ask Sesame for a name."""
    from astropy.coordinates import SkyCoord  # noqa: PLC0415 - a slow import
    from astropy.coordinates.name_resolve import NameResolveError  # noqa: PLC0415

    try:
        position = SkyCoord(name, unit=("hourangle", "deg"))
    except ValueError:
        try:
            position = SkyCoord.from_name(name)
        except (NameResolveError, OSError, ValueError) as error:
            raise SearchError(
                f"the catalog has no target {name!r}, and Sesame does not know it or cannot be reached: give a position"
            ) from error
    return float(position.icrs.ra.deg), float(position.icrs.dec.deg)
