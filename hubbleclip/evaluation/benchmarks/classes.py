"""Rank tiles for the classes of a catalogue, and estimate how many of them show an object of the class.

The query of a class is its name, filled into prompt templates. The candidates are the tiles that show an object of the
catalogue, and other tiles that count as negatives. All tiles of an object are one group, which the bootstrap resamples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from hubbleclip.core.errors import EvaluationError
from hubbleclip.core.records import Sample
from hubbleclip.dataset.shard_writer import unit_hash
from hubbleclip.evaluation.benchmarks.catalogue import SkyObject
from hubbleclip.evaluation.metrics.bootstrap import draw_weights
from hubbleclip.evaluation.metrics.protocols import Estimate, difference
from hubbleclip.evaluation.metrics.ranking import resampled_precision, resampled_ranking_metrics
from hubbleclip.evaluation.metrics.retrieval import Bools, Floats, Ints
from hubbleclip.evaluation.metrics.zeroshot import recentred

PROTOCOL = "objects"
TOPS = (1, 5, 10)
"""Numbers of first tiles whose precision is measured."""
NAMES = ("ap", "ndcg_at_10", *(f"precision_at_{top}" for top in TOPS))
COMPARED = ("base", "bm25")
"""Scorers from which the model is subtracted, in the mean over the classes."""
ALL, UNSEEN = "all", "unseen"
"""Scopes: all candidates, and those whose proposals have no tile in train."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ObjectSet:
    """Candidate tiles in order of tile id, and the classes of the objects that they show.

    `is_positive_kt` is true where a tile shows an object of a class. `group_t` has the group of each tile: a connected
    component of tiles that share objects, so a tile without an object is its own group. `is_seen_t` is true where the
    tile's proposal has a tile in train. `object_of_pair` and `tile_of_pair` are the matches.
    """

    samples: tuple[Sample, ...]
    classes: tuple[str, ...]
    is_positive_kt: Bools
    group_t: Ints
    is_seen_t: Bools
    object_of_pair: Ints
    tile_of_pair: Ints


def make_object_set(
    objects: Sequence[SkyObject],
    samples: Sequence[Sample],
    pairs: Sequence[tuple[int, int]],
    seen_proposals: frozenset[str],
    num_others: int,
) -> ObjectSet:
    """Select the tiles that show an object, and up to `num_others` other tiles, drawn by a hash of the tile id."""
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
    is_positive_kt = np.zeros((len(classes), len(chosen)), dtype=np.bool_)
    is_positive_kt[class_p, tile_p] = True
    nodes = len(chosen) + len(objects)  # a graph of tiles and objects, whose components are the groups
    links = coo_array((np.ones(len(pairs)), (tile_p, len(chosen) + object_p)), shape=(nodes, nodes))
    _, group_t = np.unique(connected_components(links, directed=False)[1][: len(chosen)], return_inverse=True)
    return ObjectSet(
        samples=tuple(samples[index] for index in chosen),
        classes=classes,
        is_positive_kt=is_positive_kt,
        group_t=group_t.astype(np.int64),
        object_of_pair=object_p,
        tile_of_pair=tile_p,
        is_seen_t=np.array([samples[index].proposal_id in seen_proposals for index in chosen]),
    )


def class_metrics(object_set: ObjectSet, scores: Mapping[str, Floats], num_resamples: int) -> list[dict[str, Any]]:
    """Estimate the metrics of each class and their means, for all candidates and for the unseen ones.

    `scores` maps the name of each scorer to its scores (k, t) of the tiles for the classes; one name is `model`.
    """
    scopes = {ALL: np.ones_like(object_set.is_seen_t)}
    if object_set.is_seen_t.any():
        scopes[UNSEEN] = ~object_set.is_seen_t
    rows: list[dict[str, Any]] = []
    for scope, is_in_t in scopes.items():
        positive_kt = object_set.is_positive_kt[:, is_in_t]
        kept_k: Bools = np.asarray(positive_kt.any(axis=1))
        _, group_t = np.unique(object_set.group_t[is_in_t], return_inverse=True)
        if len(np.unique(group_t[positive_kt.any(axis=0)])) < 2:
            continue  # one object gives no interval
        weights_bt = draw_weights(int(group_t.max()) + 1, num_resamples)[:, group_t]
        names = [name for name, is_kept in zip(object_set.classes, kept_k, strict=True) if is_kept]
        means: dict[tuple[str, str], Estimate] = {}
        for scorer, scores_kt in scores.items():
            by_class = [
                class_estimates(scorer, scores_t[is_in_t], positive_t, group_t, weights_bt)
                for scores_t, positive_t in zip(scores_kt[kept_k], positive_kt[kept_k], strict=True)
            ]
            for name, estimates in zip(names, by_class, strict=True):
                rows += [_row(scope, name, one) for one in estimates]
            for of_metric in zip(*by_class, strict=True):
                mean = mean_estimate(of_metric, group_t, positive_kt)
                means[scorer, mean.name] = mean
                rows.append(_row(scope, None, mean))
        for rival in COMPARED:
            if (rival, "ap") in means:
                rows.append(_row(scope, None, difference(means["model", "ap"], means[rival, "ap"])))
    return rows


def class_estimates(
    scorer: str, scores_t: Floats, positive_t: Bools, group_t: Ints, weights_bt: Ints
) -> list[Estimate]:
    """Estimate the metrics of one class; only the groups with an object of it count."""
    _, sizes_g = np.unique(group_t[positive_t], return_counts=True)
    once_1t = np.ones((1, len(scores_t)), dtype=np.int64)

    def values(weights: Ints) -> list[Floats]:
        of_tops = [resampled_precision(scores_t, positive_t, weights, top) for top in TOPS]
        return [*resampled_ranking_metrics(scores_t, positive_t, weights), *of_tops]

    return [
        recentred(PROTOCOL, scorer, name, float(exact_1[0]), draws_b=_known(draws_b), sizes_g=sizes_g)
        for name, exact_1, draws_b in zip(NAMES, values(once_1t), values(weights_bt), strict=True)
    ]


def _known(draws_b: Floats) -> Floats:
    """Replace the NaN of resamples without an object of the class by the mean of the others."""
    known_b: Floats = np.where(np.isfinite(draws_b), draws_b, np.nanmean(draws_b))
    return known_b


def mean_estimate(of_classes: Sequence[Estimate], group_t: Ints, positive_kt: Bools) -> Estimate:
    """Average a metric over the classes, resample by resample."""
    _, sizes_g = np.unique(group_t[positive_kt.any(axis=0)], return_counts=True)
    value = float(np.mean([one.value for one in of_classes]))
    draws_b = np.mean([one.draws_b for one in of_classes], axis=0)
    return replace(of_classes[0], value=value, draws_b=draws_b, num_groups=len(sizes_g), sizes_g=sizes_g)


def _row(scope: str, class_name: str | None, one: Estimate) -> dict[str, Any]:
    """Convert an estimate to a row of the result."""
    low, high = one.interval() if one.num_groups > 1 else (None, None)
    return {
        "scope": scope,
        "model": one.scorer,
        "class": class_name,
        "name": one.name,
        "value": round(one.value, 6),
        "low": None if low is None else round(low, 6),
        "high": None if high is None else round(high, 6),
    }


def class_counts(objects: Sequence[SkyObject], object_set: ObjectSet) -> list[dict[str, Any]]:
    """Count the objects of each class: all, those in a tile, and those whose proposals were in training."""
    in_tiles = set(object_set.object_of_pair.tolist())
    is_seen_p = object_set.is_seen_t[object_set.tile_of_pair]
    seen = set(object_set.object_of_pair[is_seen_p].tolist())
    tiles = dict(zip(object_set.classes, object_set.is_positive_kt.sum(axis=1).tolist(), strict=True))
    rows = []
    for name in sorted({one.class_name for one in objects}):
        numbers = {number for number, one in enumerate(objects) if one.class_name == name}
        rows.append(
            {
                "class": name,
                "num_objects": len(numbers),
                "num_in_tiles": len(numbers & in_tiles),
                "num_tiles": tiles.get(name, 0),
                "num_in_training": len(numbers & seen),
            }
        )
    return rows
