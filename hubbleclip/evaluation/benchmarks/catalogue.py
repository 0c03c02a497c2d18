"""Read a catalogue of objects with positions and classes, and find the tiles that show them."""

from __future__ import annotations

import csv
import math
import warnings
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS
from scipy.spatial import KDTree

from hubbleclip.core.errors import EvaluationError
from hubbleclip.core.records import Sample
from hubbleclip.core.vectors import unit_vectors
from hubbleclip.evaluation.metrics.retrieval import Floats

REQUIRED = ("ra_deg", "dec_deg", "class")
RADIUS = "radius_arcsec"
EDGE_PX = 1e-6
"""Pixels by which rounding may move a position on the edge of a tile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SkyObject:
    """An object of a catalogue: its position (ICRS), its class in plain words, and its radius or 0."""

    ra_deg: float
    dec_deg: float
    class_name: str
    radius_arcsec: float = 0.0


def read_catalogue(path: Path) -> list[SkyObject]:
    """Read a CSV file with the columns ra_deg, dec_deg, class and, optionally, radius_arcsec; others are ignored."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            names = {(name or "").strip().lower(): name for name in rows.fieldnames or ()}
            missing = [name for name in REQUIRED if name not in names]
            if missing:
                raise EvaluationError(
                    f"{path} has no column {missing[0]}: give ra_deg, dec_deg, class[, radius_arcsec]"
                )
            objects = [_object(path, rows.line_num, {key: row[name] for key, name in names.items()}) for row in rows]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise EvaluationError(f"{path} cannot be read ({error}): give a CSV file") from error
    if not objects:
        raise EvaluationError(f"{path} has no objects: give at least one row below the header")
    return objects


def _object(path: Path, line: int, row: dict[str, str | None]) -> SkyObject:
    """Make an object of a row. Raises EvaluationError if a value is missing or out of range."""
    try:
        ra, dec = float(row["ra_deg"] or ""), float(row["dec_deg"] or "")
        radius = float((row.get(RADIUS) or "").strip() or 0)
    except ValueError as error:
        raise EvaluationError(f"{path}, line {line}: {error}: give positions and radius as numbers") from error
    name = " ".join((row["class"] or "").replace("_", " ").split()).lower()
    if not (0 <= ra <= 360 and -90 <= dec <= 90 and 0 <= radius < math.inf and name):
        raise EvaluationError(f"{path}, line {line}: give 0 to 360, -90 to 90, a class, and a radius of at least 0")
    return SkyObject(ra_deg=ra % 360, dec_deg=dec, class_name=name, radius_arcsec=radius)


def match_objects(objects: Sequence[SkyObject], samples: Sequence[Sample]) -> list[tuple[int, int]]:
    """Find the tiles that show each object, by the WCS of the tiles."""
    placed = [index for index, one in enumerate(samples) if one.ra_deg is not None and one.corners_deg and one.wcs]
    if not placed:
        return []
    centres_n3 = unit_vectors(*np.array([[samples[i].ra_deg, samples[i].dec_deg] for i in placed]).T)
    corners_n43 = unit_vectors(*np.array([samples[i].corners_deg for i in placed]).reshape(-1, 4, 2).transpose(2, 0, 1))
    tile_radius = float(np.linalg.norm(corners_n43 - centres_n3[:, None], axis=2).max())  # a chord of the unit sphere
    at_m3 = unit_vectors([one.ra_deg for one in objects], [one.dec_deg for one in objects])
    own_m = np.radians(np.array([one.radius_arcsec for one in objects]) / 3600)
    near = KDTree(centres_n3).query_ball_point(at_m3, tile_radius * 1.01 + own_m)
    candidates: dict[int, list[int]] = defaultdict(list)  # objects near each tile
    for number, neighbours in enumerate(near):
        for neighbour in neighbours:
            candidates[placed[neighbour]].append(number)
    return sorted(
        (number, index)
        for index, numbers in candidates.items()
        for number, is_shown in zip(numbers, shows(samples[index], [objects[n] for n in numbers]), strict=True)
        if is_shown
    )


def shows(sample: Sample, objects: Sequence[SkyObject]) -> list[bool]:
    """Return which objects a tile shows."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wcs = WCS(fits.Header.fromstring(sample.wcs, sep="\n"), naxis=2)
        corners_xy = _pixels(wcs, np.array(sample.corners_deg).reshape(-1, 2))
        at_xy = _pixels(wcs, np.array([[one.ra_deg, one.dec_deg] for one in objects]))
    # The pixel coordinates of the corners are the edges of the tile, whatever its rotation on the sky.
    outside_xy = np.maximum(np.maximum(corners_xy.min(axis=0) - at_xy, at_xy - corners_xy.max(axis=0)), 0)
    radius_px = np.array([one.radius_arcsec for one in objects]) / (sample.pixel_scale_arcsec or math.inf)
    is_shown = np.hypot(*outside_xy.T) <= radius_px + EDGE_PX  # NaN, far outside of a distorted image, compares false
    return [bool(one) for one in is_shown]


def _pixels(wcs: WCS, sky_n2: Floats) -> Floats:
    """Convert positions (n, 2), ICRS in degrees, to pixel coordinates (n, 2), x and y from 0."""
    return np.column_stack(wcs.world_to_pixel(SkyCoord(*sky_n2.T, unit="deg")))
