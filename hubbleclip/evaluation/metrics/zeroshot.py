"""Estimate metrics of zero-shot tasks, whose right answers are in the catalog, and of image-to-image retrieval.

The labels of the zero-shot tasks are the catalog's target classes and science categories. A target class is a list of
terms, such as `GALAXY;SPIRAL`. Each term is a phrase, and the tiles that have the term are the positives of the phrase.

The phrases are few and fixed, so the bootstrap resamples the tiles, by proposal group. A tile may have several copies
in a resample, and all copies of a tile have the same score. The metrics of a resample are expectations over all orders
of tied tiles, computed in closed form.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress

import numpy as np
from scipy.special import softmax

from hubbleclip.core.reasons import SIMULATED_TERM, class_words
from hubbleclip.core.records import Sample
from hubbleclip.evaluation.metrics.protocols import Estimate, Values, bootstrap_estimates
from hubbleclip.evaluation.metrics.ranking import ranking_metrics, resampled_ranking_metrics
from hubbleclip.evaluation.metrics.retrieval import (
    Bools,
    Floats,
    Ints,
    cosine_scores,
    hit_probability,
    rank_best_positives,
)
from hubbleclip.evaluation.metrics.vocabulary import OBJECT_PROMPTS

ZERO_SHOT, IMAGES = "zero_shot", "image_to_image"
CATEGORY_PROMPTS = ("{}", "a Hubble image about {}")
NUM_BINS = 10
"""Number of confidence bins that the calibration error uses."""
IMAGE_METRICS = ("map", "recall_at_1", "ndcg_at_10")
QUERIES_PER_BLOCK = 1024
"""Number of tiles that are used as queries at once, because all pairs of a large split would not fit in memory."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Labels:
    """The k phrases of a zero-shot task, their prompt templates, and the positives of each phrase.

    `is_positive_kt` is true where a tile has the phrase as a label. Every phrase labels some tiles, but not all tiles.
    """

    phrases: tuple[str, ...]
    prompts: tuple[str, ...]
    is_positive_kt: Bools


def class_terms(sample: Sample) -> list[str]:
    """List the terms of a tile's target class."""
    return [term for term in class_words(sample.target_class) if term != SIMULATED_TERM]


def category_terms(sample: Sample) -> list[str]:
    """List the science category of a tile's proposal, in one common spelling."""
    # The spelling depends on the observing cycle: "Galaxies & Clusters" or "GALAXIES AND CLUSTERS".
    return [sample.category.lower().replace("&", "and")] if sample.category else []


TASKS: Mapping[str, tuple[Callable[[Sample], list[str]], tuple[str, ...]]] = {
    "kind": (class_terms, OBJECT_PROMPTS),
    "category": (category_terms, CATEGORY_PROMPTS),
}
"""Zero-shot tasks by name: the function that lists the labels of a tile, and the prompt templates.

The name of a task is the prefix of the names of its metrics.
"""


def term_matrix(samples: Sequence[Sample], terms_of: Callable[[Sample], list[str]]) -> tuple[list[str], Bools]:
    """List the terms of all tiles, and make a matrix (k, t) that is true where a tile has the term."""
    terms_t = [set(terms_of(sample)) for sample in samples]
    terms = sorted(set().union(*terms_t))
    is_own = (term in of_tile for term in terms for of_tile in terms_t)
    return terms, np.fromiter(is_own, np.bool_, len(terms) * len(samples)).reshape(len(terms), len(samples))


def make_labels(samples: Sequence[Sample], group_t: Ints) -> dict[str, Labels]:
    """Collect the labels of each zero-shot task that has enough labels to be measured.

    A task needs at least two phrases, and each phrase must be a label of some tiles but not of all tiles. The labelled
    tiles must be in at least two proposal groups, because an interval needs two groups.
    """
    labels = {}
    for task, (terms_of, prompts) in TASKS.items():
        terms, has_term_kt = term_matrix(samples, terms_of)
        is_kept_k = np.asarray(~has_term_kt.all(axis=1))
        phrases, is_positive_kt = tuple(compress(terms, is_kept_k)), has_term_kt[is_kept_k]
        groups = np.unique(group_t[is_positive_kt.any(axis=0)])  # groups of the tiles that have a kept phrase
        if len(phrases) > 1 and len(groups) > 1:
            labels[task] = Labels(phrases=phrases, prompts=prompts, is_positive_kt=is_positive_kt)
    return labels


def phrase_retrieval_estimates(
    task: str, scorer: str, scores_kt: Floats, labels: Labels, *, group_t: Ints, weights_bg: Ints
) -> list[Estimate]:
    """Estimate how well phrases retrieve the tiles they label: the mean average precision and the mean nDCG at 10."""
    weights_bt = weights_bg[:, group_t]
    # The array (k, 2, b) holds the average precision and the nDCG of each phrase on each resample.
    resampled = np.array(
        [
            resampled_ranking_metrics(scores_t, is_positive_t, weights_bt)
            for scores_t, is_positive_t in zip(scores_kt, labels.is_positive_kt, strict=True)
        ]
    )
    draws_2b = np.ma.masked_invalid(resampled).mean(axis=0).filled(np.nan)  # phrases without positives are ignored
    exact = ranking_metrics(scores_kt, labels.is_positive_kt)
    sizes_g = np.bincount(group_t)
    return [
        recentred(ZERO_SHOT, scorer, f"{task}_{name}", float(exact_k.mean()), draws_b=draws_b, sizes_g=sizes_g)
        for name, exact_k, draws_b in zip(("map", "ndcg_at_10"), exact, draws_2b, strict=True)
    ]


def classification_estimates(
    task: str, scorer: str, logits_tk: Floats, labels: Labels, *, group_t: Ints, weights_bg: Ints
) -> list[Estimate]:
    """Estimate the top-1 accuracy, the top-5 accuracy and the calibration error of classifying tiles by phrases."""
    is_labelled_t = labels.is_positive_kt.any(axis=0)
    logits_tk, group_t = logits_tk[is_labelled_t], group_t[is_labelled_t]
    is_positive_tk = labels.is_positive_kt.T[is_labelled_t]
    ranks = rank_best_positives(logits_tk, is_positive_tk)
    top1_t, top5_t = hit_probability(ranks, 1), hit_probability(ranks, 5)
    values = Values(means={f"{task}_top1": top1_t, f"{task}_top5": top5_t}, group_q=group_t)
    confidence_t = softmax(logits_tk, axis=1).max(axis=1)
    # Row 0 contains every tile once and gives the value of the metric; the other rows are the resamples.
    weights_bt = np.vstack([np.ones((1, len(group_t)), dtype=np.int64), weights_bg[:, group_t]])
    error_b = calibration_error(confidence_t, top1_t, weights_bt)
    _, sizes_g = np.unique(group_t, return_counts=True)  # sizes of the groups with a labelled tile
    error = recentred(
        ZERO_SHOT, scorer, f"{task}_calibration_error", float(error_b[0]), draws_b=error_b[1:], sizes_g=sizes_g
    )
    return [*bootstrap_estimates(ZERO_SHOT, scorer, values, weights_bg), error]


def recentred(protocol: str, scorer: str, name: str, value: float, *, draws_b: Floats, sizes_g: Ints) -> Estimate:
    """Make an estimate of a share. The values on resamples are shifted, so that their mean is `value`.

    The shifted values are clipped to [0, 1]. A resample without a positive has the value NaN, which is first replaced
    by the mean of the other resamples.
    """
    # A resample contains copies of tiles, and all copies of a tile have the same score and label. This biases all
    # resamples in the same direction, and the shift removes the bias.
    mean = np.nanmean(draws_b)
    centred_b = np.clip(np.where(np.isnan(draws_b), mean, draws_b) - mean + value, 0.0, 1.0)
    return Estimate(protocol=protocol, scorer=scorer, name=name, value=value, draws_b=centred_b, sizes_g=sizes_g)


def calibration_error(confidence_t: Floats, correct_t: Floats, weights_bt: Ints) -> Floats:
    """Compute the expected calibration error of each resample.

    The error is the mean absolute difference between confidence and accuracy over ten bins of confidence; each bin is
    weighted by its number of tiles (Naeini et al. 2015).
    """
    bin_t = np.minimum((confidence_t * NUM_BINS).astype(int), NUM_BINS - 1)  # the last bin includes a confidence of 1
    excess_tn = np.zeros((len(bin_t), NUM_BINS))
    excess_tn[np.arange(len(bin_t)), bin_t] = confidence_t - correct_t
    return np.asarray(np.abs(weights_bt @ excess_tn).sum(axis=1) / np.maximum(weights_bt.sum(axis=1), 1))


def image_retrieval_estimates(
    scorer: str, tiles_td: Floats, samples: Sequence[Sample], group_t: Ints, weights_bg: Ints
) -> list[Estimate]:
    """Estimate how well tiles retrieve related tiles, without any text.

    The task `same_proposal` searches all other tiles for tiles of the query's own proposal group. The task `same_kind`
    searches the tiles of other groups for tiles that share a class term with the query.
    """
    has_term_tk = term_matrix(samples, class_terms)[1].T.astype(np.float64)
    # the metrics of each tile as a query, in the order of `IMAGE_METRICS`; NaN without a right answer
    metrics = {name: np.full((len(group_t), len(IMAGE_METRICS)), np.nan) for name in ("same_proposal", "same_kind")}
    for start in range(0, len(group_t), QUERIES_PER_BLOCK):
        rows = np.arange(start, min(start + QUERIES_PER_BLOCK, len(group_t)))  # axis r holds the tiles of this block
        scores_rt = cosine_scores(tiles_td[rows], tiles_td)
        same_group_rt = group_t[rows, None] == group_t[None, :]
        itself_rt = rows[:, None] == np.arange(len(group_t))
        same_class_rt = has_term_tk[rows] @ has_term_tk.T > 0
        tasks = {
            "same_proposal": (same_group_rt & ~itself_rt, itself_rt),
            "same_kind": (same_class_rt & ~same_group_rt, same_group_rt),
        }
        for name, (positive_rt, excluded_rt) in tasks.items():
            is_query_r = positive_rt.any(axis=1)
            scores_qt = np.where(excluded_rt, -np.inf, scores_rt)[is_query_r]  # excluded tiles rank last
            positive_qt = positive_rt[is_query_r]
            precision_q, ndcg_q = ranking_metrics(scores_qt, positive_qt)
            first_q = hit_probability(rank_best_positives(scores_qt, positive_qt), 1)
            metrics[name][rows[is_query_r]] = np.stack([precision_q, first_q, ndcg_q], axis=1)
    estimates: list[Estimate] = []
    for name, values_tm in metrics.items():
        is_query_t = np.isfinite(values_tm).all(axis=1)
        group_q = group_t[is_query_t]
        if len(np.unique(group_q)) > 1:
            names = [f"{name}_{metric}" for metric in IMAGE_METRICS]
            means = dict(zip(names, values_tm[is_query_t].T, strict=True))
            estimates += bootstrap_estimates(IMAGES, scorer, Values(means=means, group_q=group_q), weights_bg)
    return estimates
