"""Score models by a catalogue of objects: find the tiles that show the objects, and rank tiles for each class.

The query of a class is its name, filled into prompt templates. The candidates are the tiles that show an object of the
catalogue, and other tiles, which are negatives. The bootstrap resamples groups of tiles. All tiles of an object are in
one group.
"""

from __future__ import annotations

import csv
import math
import warnings
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree

from hubbleclip.core.errors import EvaluationError
from hubbleclip.core.records import Sample
from hubbleclip.core.vectors import unit_vectors
from hubbleclip.dataset.shard_writer import unit_hash
from hubbleclip.evaluation.benchmarks.items import ItemSet
from hubbleclip.evaluation.metrics.bootstrap import draw_weights
from hubbleclip.evaluation.metrics.protocols import Estimate, difference
from hubbleclip.evaluation.metrics.ranking import resampled_ndcg, resampled_precision, resampled_ranking_metrics
from hubbleclip.evaluation.metrics.retrieval import Bools, Floats, Ints
from hubbleclip.evaluation.metrics.zeroshot import recentred

REQUIRED = ("ra_deg", "dec_deg", "class")
RADIUS, VOTES = "radius_arcsec", "votes"
MAJORITY = 0.5
"""Minimum share of votes for a tile to be a positive of a class. nDCG uses the share itself as the gain."""
EDGE_PX = 1e-6
"""Tolerance in pixels for rounding errors of a position on the edge of a tile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SkyObject:
    """An object of a catalogue: ICRS position, class in words, radius (0 for a point), share of votes for the class."""

    ra_deg: float
    dec_deg: float
    class_name: str
    radius_arcsec: float = 0.0
    votes: float = 1.0


def read_catalogue(path: Path) -> list[SkyObject]:
    """Read a CSV file with the columns `ra_deg`, `dec_deg` and `class`; `radius_arcsec` and `votes` are optional."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            names = {(name or "").strip().lower(): name for name in rows.fieldnames or ()}
            missing = [name for name in REQUIRED if name not in names]
            if missing:
                raise EvaluationError(
                    f"{path} has no column {missing[0]}: give ra_deg, dec_deg, class[, radius_arcsec, votes]"
                )
            objects = [_object(path, rows.line_num, {key: row[name] for key, name in names.items()}) for row in rows]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise EvaluationError(f"{path} cannot be read ({error}): give a CSV file") from error
    if not objects:
        raise EvaluationError(f"{path} has no objects: give at least one row below the header")
    return objects


def _object(path: Path, line: int, row: dict[str, str | None]) -> SkyObject:
    """Make an object from a row of the CSV file. Raises EvaluationError if a value is missing or out of range."""
    try:
        ra, dec = float(row["ra_deg"] or ""), float(row["dec_deg"] or "")
        radius, votes = (float((row.get(name) or "").strip() or empty) for name, empty in ((RADIUS, 0), (VOTES, 1)))
    except ValueError as error:
        raise EvaluationError(f"{path}, line {line}: {error}: give numbers") from error
    name = " ".join((row["class"] or "").replace("_", " ").split()).lower()
    if not (0 <= ra <= 360 and -90 <= dec <= 90 and 0 <= radius < math.inf and 0 <= votes <= 1 and name):
        raise EvaluationError(
            f"{path}, line {line}: give ra_deg 0 to 360, dec_deg -90 to 90, class, radius at least 0, votes 0 to 1"
        )
    return SkyObject(ra_deg=ra % 360, dec_deg=dec, class_name=name, radius_arcsec=radius, votes=votes)


def match_objects(objects: Sequence[SkyObject], samples: Sequence[Sample]) -> list[tuple[int, int]]:
    """Find the tiles that show each object, by the WCS of the tiles; returns index pairs (object, tile)."""
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
    """Return for each object whether the tile overlaps the circle with the object's position and radius."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wcs = WCS(fits.Header.fromstring(sample.wcs, sep="\n"), naxis=2)
        corners_xy = _pixels(wcs, np.array(sample.corners_deg).reshape(-1, 2))
        at_xy = _pixels(wcs, np.array([[one.ra_deg, one.dec_deg] for one in objects]))
    # In pixel coordinates, the tile is a rectangle along the axes, for any rotation of the tile on the sky.
    outside_xy = np.maximum(np.maximum(corners_xy.min(axis=0) - at_xy, at_xy - corners_xy.max(axis=0)), 0)
    radius_px = np.array([one.radius_arcsec for one in objects]) / (sample.pixel_scale_arcsec or math.inf)
    is_shown = np.hypot(*outside_xy.T) <= radius_px + EDGE_PX  # false if the WCS gives NaN far outside the image
    return [bool(one) for one in is_shown]


def _pixels(wcs: WCS, sky_n2: Floats) -> Floats:
    """Convert positions (n, 2), ICRS in degrees, to pixels x and y (n, 2); the centre of the first pixel is (0, 0)."""
    return np.column_stack(wcs.world_to_pixel(SkyCoord(*sky_n2.T, unit="deg")))


PROTOCOL = "objects"
TOPS = (1, 5, 10)
"""Numbers of top-ranked tiles for which the precision is measured."""
NAMES = ("ap", "ndcg_at_10", *(f"precision_at_{top}" for top in TOPS))
COMPARED = ("base", "bm25")
"""Scorers with which the model is compared. The comparison uses the mean average precision over the classes."""
ALL, UNSEEN = "all", "unseen"
"""Scopes of an estimate: all candidate tiles, and only the tiles whose proposals have no tile in train."""


def positives_of(items: ItemSet) -> Bools:
    """Return whether each tile is a positive of each class, shape (k, t)."""
    return np.asarray(items.grades_tk.T >= MAJORITY)


def make_object_set(
    objects: Sequence[SkyObject],
    samples: Sequence[Sample],
    pairs: Sequence[tuple[int, int]],
    num_others: int,
) -> ItemSet:
    """Select the tiles that show an object, and up to `num_others` other tiles, drawn by a hash of the tile id.

    The texts are the classes of the objects. The grade of a tile for a class is the largest share of votes among the
    objects of the class that the tile shows. A tile with a grade of at least `MAJORITY` is a positive of the class.
    Tiles that show the same object are in one group; a tile without an object is a group of its own.
    """
    if len({number for number, _ in pairs}) < 2:
        raise EvaluationError(
            f"{len({number for number, _ in pairs})} of {len(objects)} objects are in a tile of the dataset, and 2 are"
            " needed: check that ra_deg and dec_deg are ICRS degrees, or build a dataset of their fields"
        )
    matched = {index for _, index in pairs}
    others = sorted(set(range(len(samples))) - matched, key=lambda index: unit_hash(f"others:{samples[index].tile_id}"))
    chosen = sorted([*matched, *others[:num_others]], key=lambda index: samples[index].tile_id)
    place = {index: tile for tile, index in enumerate(chosen)}
    object_p, tile_p = np.array([(number, place[index]) for number, index in pairs], dtype=np.int64).T
    classes = tuple(sorted({objects[number].class_name for number in object_p}))
    class_p = np.array([classes.index(objects[number].class_name) for number in object_p])
    grades_tk = np.zeros((len(chosen), len(classes)))
    np.maximum.at(grades_tk, (tile_p, class_p), [objects[number].votes for number in object_p])
    nodes = len(chosen) + len(objects)  # a graph of tiles and objects, whose components are the groups
    links = coo_array((np.ones(len(pairs)), (tile_p, len(chosen) + object_p)), shape=(nodes, nodes))
    _, group_t = np.unique(connected_components(links, directed=False)[1][: len(chosen)], return_inverse=True)
    return ItemSet(
        benchmark=PROTOCOL,
        samples=tuple(samples[index] for index in chosen),
        text_ids=classes,
        texts=classes,
        grades_tk=grades_tk,
        group_t=group_t.astype(np.int64),
    )


def class_metrics(
    items: ItemSet, scores: Mapping[str, Floats], seen_proposals: frozenset[str], num_resamples: int
) -> list[dict[str, Any]]:
    """Estimate the metrics of each class, and their means over the classes, for all tiles and for unseen tiles.

    Unseen tiles are those whose proposals have no tile in train.

    `scores` maps the name of each scorer to its scores (k, t) of the tiles for the classes; one name is `model`.
    """
    is_seen_t = np.array([sample.proposal_id in seen_proposals for sample in items.samples])
    scopes = {ALL: np.ones_like(is_seen_t)}
    if is_seen_t.any():
        scopes[UNSEEN] = ~is_seen_t
    rows: list[dict[str, Any]] = []
    for scope, is_in_t in scopes.items():
        positive_kt = positives_of(items)[:, is_in_t]
        kept_k: Bools = np.asarray(positive_kt.any(axis=1))
        _, group_t = np.unique(items.group_t[is_in_t], return_inverse=True)
        if len(np.unique(group_t[positive_kt.any(axis=0)])) < 2:
            continue  # an interval needs at least two groups
        weights_bt = draw_weights(int(group_t.max()) + 1, num_resamples)[:, group_t]
        names = [name for name, is_kept in zip(items.texts, kept_k, strict=True) if is_kept]
        means: dict[tuple[str, str], Estimate] = {}
        for scorer, scores_kt in scores.items():
            by_class = [
                class_estimates(scorer, scores_t[is_in_t], grade_t, group_t, weights_bt)
                for scores_t, grade_t in zip(scores_kt[kept_k], items.grades_tk.T[kept_k][:, is_in_t], strict=True)
            ]
            for name, estimates in zip(names, by_class, strict=True):
                rows += [{"scope": scope, "class": name, **one.row()} for one in estimates]
            for of_metric in zip(*by_class, strict=True):
                mean = mean_estimate(of_metric, group_t, positive_kt)
                means[scorer, mean.name] = mean
                rows.append({"scope": scope, "class": None, **mean.row()})
        for rival in COMPARED:
            if (rival, "ap") in means:
                gain = difference(means["model", "ap"], means[rival, "ap"])
                rows.append({"scope": scope, "class": None, **gain.row()})
    return rows


def class_estimates(scorer: str, scores_t: Floats, grade_t: Floats, group_t: Ints, weights_bt: Ints) -> list[Estimate]:
    """Estimate the metrics of one class.

    Average precision and precision use the positives, and nDCG uses the grades as gains. The number of groups, which
    determines the width of the intervals, includes only groups that contain a positive.
    """
    positive_t = np.asarray(grade_t >= MAJORITY)
    _, sizes_g = np.unique(group_t[positive_t], return_counts=True)
    once_1t = np.ones((1, len(scores_t)), dtype=np.int64)

    def values(weights: Ints) -> list[Floats]:
        of_tops = [resampled_precision(scores_t, positive_t, weights, top) for top in TOPS]
        precision_b, _ = resampled_ranking_metrics(scores_t, positive_t, weights)
        return [precision_b, resampled_ndcg(scores_t, grade_t, weights), *of_tops]

    return [
        recentred(PROTOCOL, scorer, name, float(exact_1[0]), draws_b=draws_b, sizes_g=sizes_g)
        for name, exact_1, draws_b in zip(NAMES, values(once_1t), values(weights_bt), strict=True)
    ]


def mean_estimate(of_classes: Sequence[Estimate], group_t: Ints, positive_kt: Bools) -> Estimate:
    """Average a metric over the classes: once for all tiles, and once for each bootstrap resample."""
    _, sizes_g = np.unique(group_t[positive_kt.any(axis=0)], return_counts=True)
    value = float(np.mean([one.value for one in of_classes]))
    draws_b = np.mean([one.draws_b for one in of_classes], axis=0)
    return replace(of_classes[0], value=value, draws_b=draws_b, sizes_g=sizes_g)


def class_counts(
    items: ItemSet,
    objects: Sequence[SkyObject],
    samples: Sequence[Sample],
    pairs: Sequence[tuple[int, int]],
    seen_proposals: frozenset[str],
) -> list[dict[str, Any]]:
    """Count the objects of each class, and the tiles that are positives of the class.

    Three numbers of objects are given: all objects, the objects that are in a tile, and the objects that are in a tile
    whose proposal has a tile in train.
    """
    tiles = dict(zip(items.texts, positives_of(items).sum(axis=1).tolist(), strict=True))
    in_tiles = {number for number, _ in pairs}
    seen = {number for number, index in pairs if samples[index].proposal_id in seen_proposals}
    numbers_of: dict[str, set[int]] = defaultdict(set)
    for number, one in enumerate(objects):
        numbers_of[one.class_name].add(number)
    return [
        {
            "class": name,
            "num_objects": len(numbers),
            "num_in_tiles": len(numbers & in_tiles),
            "num_tiles": tiles.get(name, 0),
            "num_in_training": len(numbers & seen),
        }
        for name, numbers in sorted(numbers_of.items())
    ]
