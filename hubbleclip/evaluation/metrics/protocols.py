"""The protocols that turn scores into metrics.

`fair`: every test tile against the distinct captions of all test proposals, and back; no tile or caption is excluded.
`views`: the same, but each tile's feature is the mean over its proposal's tiles.
`paperclip`: as the code of arXiv 2403.08851 measures (models/eval_utils.py): batches of 100 tiles with their own
captions, one positive on the diagonal, the first 1, 5, 10 and 20 of 100.
`paperclip_equation`: as the paper describes the metric (its section 4.1): each image against the captions of all |V|
images, a caption counted once per image that has it; a hit has a rank of at most floor(k |V| / 100).
Their code and their equation differ: a tenth of 100 against a tenth of all, text to image against image to text, and
single batches against all images. Where captions are shared, both leave the rank to the order of ties; here that is its
expectation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hubbleclip.evaluation.metrics.baselines import chance_ranks, simulated_chance_ranks
from hubbleclip.evaluation.metrics.bootstrap import (
    draw_weights,
    percentile_interval,
    proportion_interval,
    resampled_means,
    resampled_medians,
)
from hubbleclip.evaluation.metrics.ranking import (
    NUM_CHANCE,
    NUM_TOP,
    average_precision,
    chance_precision_and_ndcg,
    diversity,
    ndcg,
)
from hubbleclip.evaluation.metrics.retrieval import (
    PERCENTS,
    RECALLS,
    Bools,
    Floats,
    Ints,
    TiedRanks,
    expected_rank,
    expected_recall,
    hit_probability,
    positive_pairs,
    rank_best_positives,
    top_count,
)
from hubbleclip.evaluation.test_set import TestSet

FAIR, VIEWS, PAPERCLIP, EQUATION = "fair", "views", "paperclip", "paperclip_equation"
PAPERCLIP_BATCH_SIZE = 100
MIN_PAPERCLIP_BATCH_SIZE = 10
"""A smaller last batch has no top 10 %."""
PAPERCLIP_PERCENTS = (1, 5, 10, 20)
HEADLINE_PERCENT = 10
"""Cutoff of the headline metric, in per cent of the items."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scores:
    """One scorer's scores of captions for tiles (t, c) and of tiles for captions (c, t); higher is nearer."""

    scorer: str
    i2t_tc: Floats
    t2i_ct: Floats


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Resamples:
    """Each tile's own caption (t,), each caption's group (c,), and the bootstrap weights (b, g) of the groups."""

    caption_t: Ints
    group_c: Ints
    weights_bg: Ints

    @property
    def group_t(self) -> Ints:
        """Group (t,) of each tile."""
        return self.group_c[self.caption_t]


def draw_resamples(test_set: TestSet, num_resamples: int, seed: int) -> Resamples:
    """Draw bootstrap resamples of a test set's proposal groups.

    Parameters
    ----------
    test_set : TestSet
        Tiles, captions and groups.
    num_resamples : int
        Number b of resamples.
    seed : int
        Seed of the random numbers.

    Returns
    -------
    Resamples
        The same for every scorer, so that differences are paired.

    """
    weights_bg = draw_weights(test_set.num_groups, num_resamples, seed)
    return Resamples(caption_t=test_set.caption_t, group_c=test_set.group_c, weights_bg=weights_bg)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Estimate:
    """A metric's value with its resampled values `draws_b`, which give intervals of it and of paired differences."""

    protocol: str
    scorer: str
    name: str
    value: float
    draws_b: Floats
    num_groups: int

    @property
    def is_share(self) -> bool:
        """Whether the metric is a share in [0, 1]; ranks and differences are not."""
        return "rank" not in self.name and "_minus_" not in self.name

    def interval(self) -> tuple[float, float]:
        """Compute the 95 % interval of the metric.

        Returns
        -------
        tuple of float
            Lower and upper end.

        """
        low, high = (proportion_interval if self.is_share else percentile_interval)(self.draws_b, self.num_groups)
        # Resamples of a nonlinear metric (a median, a calibration error) may all lie on one side of its value.
        return min(low, self.value), max(high, self.value)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Values:
    """Metrics of each query of one direction: named columns `shares_qm`, ranks `rank_q`, and the queries' groups.

    `rank_name` is the name of the median rank, or empty if there is none.
    """

    names: tuple[str, ...]
    shares_qm: Floats
    rank_name: str
    rank_q: Floats
    group_q: Ints


def hit_metric_names(direction: str) -> tuple[str, ...]:
    """Name the metrics of a direction's retrieval curve and recalls.

    Parameters
    ----------
    direction : str
        `i2t` (image to text) or `t2i` (text to image).

    Returns
    -------
    tuple of str
        Names in the order of `hit_cutoffs`.

    """
    return (
        *(f"{direction}_accuracy_at_{percent}pct" for percent in PERCENTS),
        *(f"{direction}_recall_at_{count}" for count in RECALLS),
    )


def hit_cutoffs(num_items: int) -> list[int]:
    """Compute the number of top items that each metric of `hit_metric_names` looks at.

    Parameters
    ----------
    num_items : int
        Number of items.

    Returns
    -------
    list of int
        Cutoffs from 1 to `num_items`.

    """
    return [*(top_count(percent, num_items) for percent in PERCENTS), *(min(count, num_items) for count in RECALLS)]


def values_of(direction: str, scores_qi: Floats, positive_qi: Bools, group_q: Ints) -> Values:
    """Compute a direction's metrics for each query.

    Parameters
    ----------
    direction : str
        `i2t` or `t2i`, the prefix of the names.
    scores_qi : ndarray
        Scores (q, i); higher is nearer.
    positive_qi : ndarray
        True (q, i) where the item is a right answer; at least one per row.
    group_q : ndarray
        Proposal group (q,) of each query.

    Returns
    -------
    Values
        Hits at every cutoff, average precision, nDCG at 10, normalised ranks and expected ranks.

    """
    ranks = rank_best_positives(scores_qi, positive_qi)
    rank_q = expected_rank(ranks)
    columns = dict(
        zip(
            hit_metric_names(direction),
            (hit_probability(ranks, count) for count in hit_cutoffs(ranks.num_items)),
            strict=True,
        )
    )
    columns[f"{direction}_map"] = average_precision(scores_qi, positive_qi)
    columns[f"{direction}_ndcg_at_10"] = ndcg(scores_qi, positive_qi)
    columns[f"{direction}_normalised_rank"] = rank_q / ranks.num_items
    return Values(
        names=tuple(columns), shares_qm=np.stack(list(columns.values()), axis=1),
        rank_name=f"{direction}_median_rank", rank_q=rank_q, group_q=group_q,
    )  # fmt: skip


def bootstrap_estimates(protocol: str, scorer: str, values: Values, weights_bg: Ints) -> list[Estimate]:
    """Average a direction's metrics over the queries, and over those of each resample.

    Parameters
    ----------
    protocol : str
        Name of the protocol.
    scorer : str
        Name of the scorer.
    values : Values
        Metrics of each query.
    weights_bg : ndarray
        Bootstrap weights (b, g) of the groups.

    Returns
    -------
    list of Estimate
        One per column, and the median rank if it has a name.

    """
    num_groups = len(np.unique(values.group_q))  # groups without a query add no information
    draws_bm = resampled_means(values.shares_qm, values.group_q, weights_bg)
    estimates = [
        Estimate(protocol=protocol, scorer=scorer, name=name, value=float(values.shares_qm[:, column].mean()),
                 draws_b=draws_bm[:, column], num_groups=num_groups)
        for column, name in enumerate(values.names)
    ]  # fmt: skip
    if values.rank_name:
        medians_b = resampled_medians(values.rank_q, values.group_q, weights_bg)
        median = float(np.median(values.rank_q))
        estimates.append(Estimate(protocol=protocol, scorer=scorer, name=values.rank_name, value=median,
                                  draws_b=medians_b, num_groups=num_groups))  # fmt: skip
    return estimates


def fair_estimates(scores: Scores, resamples: Resamples, *, protocol: str = FAIR) -> list[Estimate]:
    """Estimate the metrics of both directions over all tiles and all distinct captions.

    Image to text: the share of tiles whose own caption is among the top k % of captions. Text to image: the share of
    captions with any of their tiles among the top k % of tiles; `t2i_found_at_10pct` is the share of its tiles found,
    `t2i_diversity_at_10` the distinct proposal groups among the ten nearest tiles, as a share of ten.

    Parameters
    ----------
    scores : Scores
        One scorer's scores.
    resamples : Resamples
        Captions, groups and bootstrap weights.
    protocol : str
        Name of the protocol in the estimates.

    Returns
    -------
    list of Estimate
        Metrics of both directions.

    """
    caption_t, group_c = resamples.caption_t, resamples.group_c
    positive_ct = positive_pairs(np.arange(len(group_c)), caption_t)  # a caption's positives are its own tiles
    recall_c = expected_recall(scores.t2i_ct, positive_ct, top_count(HEADLINE_PERCENT, len(caption_t)))
    # Metrics of text to image that need all tiles of a caption, not just its best one.
    text_to_all_tiles = Values(
        names=("t2i_found_at_10pct", "t2i_diversity_at_10"),
        shares_qm=np.stack([recall_c, diversity(scores.t2i_ct, resamples.group_t)], axis=1),
        rank_name="", rank_q=recall_c, group_q=group_c,
    )  # fmt: skip
    image_to_text = values_of("i2t", scores.i2t_tc, positive_ct.T, resamples.group_t)
    text_to_image = values_of("t2i", scores.t2i_ct, positive_ct, group_c)
    return [
        estimate
        for values in (image_to_text, text_to_image, text_to_all_tiles)
        for estimate in bootstrap_estimates(protocol, scores.scorer, values, resamples.weights_bg)
    ]


def chance_estimates(resamples: Resamples, seed: int) -> list[Estimate]:
    """Estimate the metrics of the scorer `random` under `fair`: exact expectations, with draws of whole random orders.

    Parameters
    ----------
    resamples : Resamples
        Captions and groups; the number of draws is that of the resamples.
    seed : int
        Seed of the random numbers.

    Returns
    -------
    list of Estimate
        The metrics of `fair_estimates`; their intervals show how far a random order deviates.

    """
    group_t, num_tiles, num_captions = resamples.group_t, len(resamples.caption_t), len(resamples.group_c)
    num_draws, num_groups = resamples.weights_bg.shape
    tiles_c = np.bincount(resamples.caption_t, minlength=num_captions)  # number of tiles of each caption
    num_top = top_count(HEADLINE_PERCENT, num_tiles)
    rng = np.random.default_rng(seed)
    # Tiles of a caption among the top of a random order: draws without replacement.
    drawn_bc = rng.hypergeometric(tiles_c, num_tiles - tiles_c, num_top, (num_draws, num_captions))
    first_bk = [rng.choice(group_t, min(NUM_TOP, num_tiles), replace=False) for _ in range(num_draws)]
    distinct_b = np.array([len(np.unique(first_k)) / len(first_k) for first_k in first_bk])
    metrics = [
        ("t2i_found_at_10pct", num_top / num_tiles, (drawn_bc / tiles_c).mean(axis=1)),
        ("t2i_diversity_at_10", float(diversity(np.zeros((1, num_tiles)), group_t)[0]), distinct_b),
    ]
    metrics += chance_metrics("i2t", np.ones(num_tiles, dtype=np.int64), num_captions, num_draws, seed)
    metrics += chance_metrics("t2i", tiles_c, num_tiles, num_draws, seed)
    return [
        Estimate(protocol=FAIR, scorer="random", name=name, value=value, draws_b=draws_b, num_groups=num_groups)
        for name, value, draws_b in metrics
    ]


def chance_metrics(
    direction: str, positives_q: Ints, num_items: int, num_draws: int, seed: int
) -> list[tuple[str, float, Floats]]:
    """Compute a direction's metrics for items in random order.

    Parameters
    ----------
    direction : str
        `i2t` or `t2i`, the prefix of the names.
    positives_q : ndarray
        Number (q,) of positives of each query.
    num_items : int
        Number of items.
    num_draws : int
        Number b of draws.
    seed : int
        Seed of the random numbers.

    Returns
    -------
    list of (str, float, ndarray)
        Name, expectation and simulated values (b,) of each metric.

    """
    ranks = chance_ranks(positives_q, num_items)
    rank_bq = simulated_chance_ranks(positives_q, num_items, num_draws, seed)
    medians_b = np.median(rank_bq, axis=1)
    shares = [
        (name, float(hit_probability(ranks, count).mean()), (rank_bq <= count).mean(axis=1))
        for name, count in zip(hit_metric_names(direction), hit_cutoffs(num_items), strict=True)
    ]
    return [
        *shares,
        *chance_ranking_metrics(direction, positives_q, num_items, num_draws, seed),
        (f"{direction}_normalised_rank", float(expected_rank(ranks).mean() / num_items),
         rank_bq.mean(axis=1) / num_items),
        # The median has no closed form: its value is the mean of the draws.
        (f"{direction}_median_rank", float(medians_b.mean()), medians_b),
    ]  # fmt: skip


def chance_ranking_metrics(
    direction: str, positives_q: Ints, num_items: int, num_draws: int, seed: int
) -> list[tuple[str, float, Floats]]:
    """Compute average precision and nDCG for items in random order.

    Each query draws from simulated orders that all queries with as many positives share.

    Parameters
    ----------
    direction : str
        `i2t` or `t2i`, the prefix of the names.
    positives_q : ndarray
        Number (q,) of positives of each query.
    num_items : int
        Number of items.
    num_draws : int
        Number b of draws.
    seed : int
        Seed of the random numbers.

    Returns
    -------
    list of (str, float, ndarray)
        Name, expectation and simulated values (b,) of each metric.

    """
    pick_bq = np.random.default_rng(seed).integers(NUM_CHANCE, size=(num_draws, len(positives_q)))
    drawn_mbq = np.empty((2, *pick_bq.shape))  # axis m: average precision, nDCG
    exact_mq = np.empty((2, len(positives_q)))
    tied_1i = np.zeros((1, num_items))  # all scores equal: the metric is its expectation by chance
    for positives in np.unique(positives_q):
        is_same_q = positives_q == positives
        positive_1i = np.arange(num_items)[None] < positives  # which items are positive does not matter
        for row, values_b in enumerate(chance_precision_and_ndcg(int(positives), num_items, seed)):
            drawn_mbq[row][:, is_same_q] = values_b[pick_bq[:, is_same_q]]
        exact_mq[:, is_same_q] = [average_precision(tied_1i, positive_1i), ndcg(tied_1i, positive_1i)]
    names = (f"{direction}_map", f"{direction}_ndcg_at_10")
    return [
        (name, float(exact_q.mean()), drawn_bq.mean(axis=1))
        for name, exact_q, drawn_bq in zip(names, exact_mq, drawn_mbq, strict=True)
    ]


def diagonal_hits(scores_bb: Floats) -> Floats:
    """Compute the hits of a square batch if only the diagonal is right.

    Parameters
    ----------
    scores_bb : ndarray
        Scores (b, b) of a batch's tiles and captions, in the same order.

    Returns
    -------
    ndarray
        Probability (b, k) of a hit at each of `PAPERCLIP_PERCENTS`; by chance the percentage itself.

    """
    ranks = rank_best_positives(scores_bb, np.eye(len(scores_bb), dtype=np.bool_))
    return np.stack([hit_probability(ranks, top_count(k, len(scores_bb))) for k in PAPERCLIP_PERCENTS], axis=1)


def paperclip_estimates(scores: Scores, tile_ids: Sequence[str], resamples: Resamples) -> list[Estimate]:
    """Estimate the metric of the reference's code: batches of 100 tiles in order of id, each tile with its own caption.

    Captions shared within a batch compete with each other, as there. A last batch below ten tiles is dropped.

    Parameters
    ----------
    scores : Scores
        One scorer's scores.
    tile_ids : sequence of str
        Ids of the tiles, in the order of the scores.
    resamples : Resamples
        Captions, groups and bootstrap weights.

    Returns
    -------
    list of Estimate
        Accuracies of both directions at `PAPERCLIP_PERCENTS`.

    Notes
    -----
    arXiv 2403.08851, models/eval_utils.py of its repository.

    """
    order_t = np.argsort(np.array(tile_ids), kind="stable")
    batches = [order_t[start : start + PAPERCLIP_BATCH_SIZE] for start in range(0, len(order_t), PAPERCLIP_BATCH_SIZE)]
    # A single small batch is kept: a test split below ten tiles still gets a value.
    batches = [batch for batch in batches if len(batch) >= MIN_PAPERCLIP_BATCH_SIZE or len(batches) == 1]
    hits = [
        np.hstack([diagonal_hits(scores.i2t_tc[np.ix_(batch, resamples.caption_t[batch])]),
                   diagonal_hits(scores.t2i_ct[np.ix_(resamples.caption_t[batch], batch)])])
        for batch in batches
    ]  # fmt: skip
    names = tuple(f"{direction}_accuracy_at_{k}pct" for direction in ("i2t", "t2i") for k in PAPERCLIP_PERCENTS)
    values = Values(names=names, shares_qm=np.concatenate(hits), rank_name="", rank_q=np.empty(0),
                    group_q=resamples.group_t[np.concatenate(batches)])  # fmt: skip
    return bootstrap_estimates(PAPERCLIP, scores.scorer, values, resamples.weights_bg)


def equation_estimates(scores: Scores, resamples: Resamples) -> list[Estimate]:
    """Estimate the metric of the paper's equation: each tile's own caption among the captions of all tiles.

    Parameters
    ----------
    scores : Scores
        One scorer's scores; those of tiles for captions are used.
    resamples : Resamples
        Captions, groups and bootstrap weights.

    Returns
    -------
    list of Estimate
        Accuracies of image to text at `PERCENTS`.

    Notes
    -----
    arXiv 2403.08851, section 4.1. A caption is an item as often as it has tiles: all its copies score the same, and one
    of them is the right answer.

    """
    caption_t, num_tiles = resamples.caption_t, len(resamples.caption_t)
    tiles_c = np.bincount(caption_t, minlength=len(resamples.group_c))
    own_t1 = scores.i2t_tc[np.arange(num_tiles), caption_t][:, None]  # score of each tile's own caption, (t, 1)
    # The copies of a caption are counted, not written out.
    ranks = TiedRanks(
        above_q=(scores.i2t_tc > own_t1) @ tiles_c, tied_q=(scores.i2t_tc == own_t1) @ tiles_c,
        positives_q=np.ones(num_tiles, dtype=np.int64), num_items=num_tiles,
    )  # fmt: skip
    # Unlike `top_count`, the equation rounds down to 0: below 100 tiles the top 1 % has no hit.
    hits = [hit_probability(ranks, percent * num_tiles // 100) for percent in PERCENTS]
    values = Values(names=tuple(f"i2t_accuracy_at_{percent}pct" for percent in PERCENTS),
                    shares_qm=np.stack(hits, axis=1), rank_name="", rank_q=np.empty(0),
                    group_q=resamples.group_t)  # fmt: skip
    return bootstrap_estimates(EQUATION, scores.scorer, values, resamples.weights_bg)


def difference(ours: Estimate, other: Estimate) -> Estimate:
    """Subtract two scorers' estimates of a metric, paired by resample.

    Parameters
    ----------
    ours, other : Estimate
        The same metric on the same resamples.

    Returns
    -------
    Estimate
        `ours` minus `other`, named `<metric>_minus_<other>`; the scorers differ if its interval excludes 0.

    """
    return Estimate(
        protocol=ours.protocol, scorer=ours.scorer, name=f"{ours.name}_minus_{other.scorer}",
        value=ours.value - other.value, draws_b=ours.draws_b - other.draws_b, num_groups=ours.num_groups,
    )  # fmt: skip
