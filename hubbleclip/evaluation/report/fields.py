"""Answers to the example queries: the nearest fields of sky, each marked by whether it has the class sought."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from hubbleclip.core.records import Sample
from hubbleclip.core.vectors import unit_vectors
from hubbleclip.evaluation.report.tile_cards import Thumbnail, tile_card

QUERY_CLASSES = {
    "a spiral galaxy seen face-on": r"spiral",
    "an elliptical galaxy with a smooth halo": r"elliptical",
    "two galaxies merging, with tidal tails": r"merg|interacting",
    "a cluster of galaxies with gravitationally lensed arcs": r"galaxy cluster|cluster of galaxies|rich cluster|lens",
    "a dense globular cluster of stars": r"globular",
    "a young open cluster": r"open cluster|galactic cluster",
    "a planetary nebula around a dying star": r"planetary nebula",
    "the filaments of a supernova remnant": r"supernova remnant",
    "a nebula where stars form": r"star-forming|\bh ?ii\b|emission nebula|diffuse nebula",
    "a giant planet with cloud bands": r"\bplanet\b|jupiter|saturn|uranus|neptune",
    "a comet with its coma and tail": r"comet",
    "a deep field of faint distant galaxies": r"deep field|blank (sky|field)|high[- ]redshift",
}
"""Pattern of the archive's class of object that answers each example query of the vocabulary."""
SAME_FIELD_SHARE = 0.5
"""Largest distance of the centres of tiles of one field, as a share of the side of a tile."""
MAX_RANKED = 200
"""Number of nearest tiles among which the tiles of one field are collected."""


class Field(NamedTuple):
    """One field of sky: its best tile, and its other tiles among the nearest."""

    tile: int
    others: tuple[int, ...]


def fold_fields(samples: Sequence[Sample], ranked: Iterable[int], count: int) -> list[Field]:
    """Group ranked tiles by field of sky, so that one field in four filters is one answer."""
    fields: list[list[int]] = []
    for tile in ranked:
        same = next((field for field in fields if is_same_field(samples[field[0]], samples[tile])), None)
        if same is not None:
            same.append(tile)
        elif len(fields) < count:
            fields.append([tile])
    return [Field(first, tuple(others)) for first, *others in fields]


def is_same_field(one: Sample, other: Sample) -> bool:
    """Test whether two tiles show one field: the same target of one proposal, or nearly the same piece of sky."""
    if one.target_name and (one.proposal_id, one.target_name) == (other.proposal_id, other.target_name):
        return True
    if one.is_moving or other.is_moving or len(one.corners_deg) != 8 or len(other.corners_deg) != 8:
        return False
    (first, second, *_), centres = _corners(one), [_corners(each).mean(axis=0) for each in (one, other)]
    return bool(np.linalg.norm(centres[0] - centres[1]) <= SAME_FIELD_SHARE * np.linalg.norm(first - second))


def _corners(sample: Sample) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Return the corners (4, 3) of a tile as vectors of length 1."""
    return unit_vectors(*np.reshape(sample.corners_deg, (4, 2)).T)


def mark_of(query: str, sample: Sample) -> str:
    """Say whether a tile has the class of object that a query seeks."""
    pattern = QUERY_CLASSES.get(query)
    if not (pattern and sample.target_class):
        return ""
    return "right" if re.search(pattern, sample.target_class.lower()) else "wrong"


def field_card(
    query: str, field: Field, samples: Sequence[Sample], pictures: Mapping[str, Thumbnail]
) -> dict[str, Any]:
    """Make the template variables of a field that answers an example query."""
    best = samples[field.tile]
    filters = sorted({samples[tile].filter or "" for tile in field.others} - {best.filter or "", ""})
    also = f" ({', '.join(filters)})" if filters else ""
    others = f"and {len(field.others)} more of this field{also}" if field.others else ""
    return {**tile_card(best, pictures), "mark": mark_of(query, best), "others": others}
