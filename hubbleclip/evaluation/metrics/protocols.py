"""Turn scores into metrics, by one of three protocols.

- `fair` ranks the distinct captions of all test proposals for every test tile, and all test tiles for every caption.
  No tile and no caption is excluded.
- `paperclip` follows the code of arXiv 2403.08851 (models/eval_utils.py). Items are ranked within batches of 100 tiles
  and their captions. A tile's only right answer is its own caption; another copy of the caption is a wrong answer. The
  cutoffs are 1, 5, 10 and 20 of 100 items.
- `paperclip_equation` follows section 4.1 of the same paper. The captions of all |V| images are ranked for each image,
  and a caption that belongs to n images is ranked n times. A rank of at most floor(k |V| / 100) is a hit.

The code and the equation of the paper differ in three ways. At 10 %, the code accepts the first 10 items of a batch
of 100, and the equation accepts the first tenth of all items. The code measures text to image, and the equation
measures image to text. The code ranks the items of single batches, and the equation ranks the captions of all images.
If images share a caption, the copies of the caption have equal scores. In the code and in the equation, the rank then
depends on the order of the tied items; this module uses the expectation over all orders.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from hubbleclip.config.model import BOOTSTRAP_SEED
from hubbleclip.evaluation.metrics.baselines import bm25_scores, chance_ranks, metadata_text, simulated_chance_ranks
from hubbleclip.evaluation.metrics.bootstrap import TAIL, resampled_means, resampled_retrieval
from hubbleclip.evaluation.metrics.intervals import (
    correlation_of,
    design_ratio,
    difference_interval,
    percentile_interval,
    share_interval,
    variance_of,
)
from hubbleclip.evaluation.metrics.ranking import (
    NUM_CHANCE,
    NUM_TOP,
    chance_precision_and_ndcg,
    diversity,
    ranking_metrics,
)
from hubbleclip.evaluation.metrics.retrieval import (
    PERCENTS,
    Bools,
    Floats,
    Ints,
    TiedRanks,
    cosine_scores,
    expected_rank,
    expected_recall,
    hit_cutoffs,
    hit_probability,
    rank_best_positives,
    top_count,
)
from hubbleclip.evaluation.names import HEADLINE, HEADLINE_PERCENT
from hubbleclip.evaluation.test_set import TestSet

FAIR, PAPERCLIP, EQUATION = "fair", "paperclip", "paperclip_equation"
PAPERCLIP_BATCH_SIZE = 100
MIN_PAPERCLIP_BATCH_SIZE = 10
"""Minimum number of tiles in the last batch; 10 % of a smaller batch would be less than one tile."""
PAPERCLIP_PERCENTS = (1, 5, 10, 20)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scores:
    """One scorer's scores of captions for tiles (t, c) and of tiles for captions (c, t); a higher score is better."""

    scorer: str
    i2t_tc: Floats
    t2i_ct: Floats

    @classmethod
    def of_features(cls, scorer: str, tiles_td: Floats, captions_cd: Floats) -> Scores:
        """Score by the cosine similarity of features."""
        scores_tc = cosine_scores(tiles_td, captions_cd)
        return cls(scorer=scorer, i2t_tc=scores_tc, t2i_ct=scores_tc.T)

    @classmethod
    def of_text_search(cls, test_set: TestSet) -> Scores:
        """Score by asymmetric BM25: the query is a tile's metadata in one direction, and a caption in the other."""
        metadata, captions = [metadata_text(sample) for sample in test_set.samples], test_set.captions_c
        return cls(scorer="bm25", i2t_tc=bm25_scores(metadata, captions), t2i_ct=bm25_scores(captions, metadata))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Estimate:
    """The value of a metric, and its values `draws_b` on the bootstrap resamples of the groups.

    The resampled values give the interval of the metric, and the intervals of paired differences between scorers.
    `sizes_g` is the number of queries of each group; groups without queries are omitted. `correlation` is the
    correlation of the hits within a group; None unless every query is a hit (1) or a miss (0).
    """

    protocol: str
    scorer: str
    name: str
    value: float
    draws_b: Floats
    sizes_g: Ints
    correlation: float | None = None

    @property
    def num_groups(self) -> int:
        """Number of groups that have queries."""
        return len(self.sizes_g)

    @property
    def variance(self) -> float:
        """Variance of the metric over resamples of the groups."""
        return variance_of(self.draws_b, self.num_groups)

    def interval(self) -> tuple[float, float]:
        """Compute the 95 % interval of the metric."""
        if "rank" not in self.name:  # the metric is a share in [0, 1]
            return share_interval(self.value, self.variance, self.sizes_g, self.correlation)
        low, high = percentile_interval(self.draws_b, self.num_groups)
        if self.name.endswith("median_rank"):
            low, high = math.floor(low), math.ceil(high)  # the true median is a whole rank
        # The interval is extended to contain the value: all resampled medians may be above or below the value.
        return min(low, self.value), max(high, self.value)

    def row(self) -> dict[str, Any]:
        """List scorer, name, value and interval, rounded to six decimals; the interval is None for a single group."""
        low, high = [round(end, 6) for end in self.interval()] if self.num_groups > 1 else (None, None)
        return {"model": self.scorer, "name": self.name, "value": round(self.value, 6), "low": low, "high": high}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Difference(Estimate):
    """Difference between the shares of two scorers, such as accuracies; `ratio` is the larger of the design ratios."""

    ratio: float

    def interval(self) -> tuple[float, float]:
        """Compute the 95 % interval of the difference."""
        return difference_interval(self.value, self.variance, self.num_groups, self.ratio)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Chance(Estimate):
    """Estimate of a metric if the items are in random order; `draws_b` has the metric's values for simulated orders."""

    def interval(self) -> tuple[float, float]:
        """Compute the range that contains the metric for 95 % of the simulated orders."""
        low, high = np.quantile(self.draws_b, [TAIL, 1 - TAIL])
        return min(float(low), self.value), max(float(high), self.value)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Values:
    """Values of metrics, one per query, for one direction of retrieval (image to text or text to image).

    The mean over the queries is estimated for the metrics in `means`, and the median for the metrics in `medians`.
    Both map the name of a metric to its values (q,). `group_q` is the proposal group of each query. `draws` maps the
    name of a metric to its values (b,) on resamples of both queries and items. Every metric in `medians` must be in
    `draws`. A metric in `means` that is not in `draws` is resampled by query only.
    """

    means: Mapping[str, Floats]
    group_q: Ints
    medians: Mapping[str, Floats] = field(default_factory=dict)
    draws: Mapping[str, Floats] = field(default_factory=dict)


def values_of(direction: str, scores_qi: Floats, positive_qi: Bools, group_q: Ints) -> Values:
    """Compute the metrics of each query of one direction."""
    ranks = rank_best_positives(scores_qi, positive_qi)
    rank_q = expected_rank(ranks)
    precision_q, ndcg_q = ranking_metrics(scores_qi, positive_qi)
    cutoffs = hit_cutoffs(direction, ranks.num_items)
    means = {name: hit_probability(ranks, count) for name, count in cutoffs.items()} | {
        f"{direction}_map": precision_q,
        f"{direction}_ndcg_at_10": ndcg_q,
        f"{direction}_normalised_rank": rank_q / ranks.num_items,
    }
    return Values(means=means, group_q=group_q, medians={f"{direction}_median_rank": rank_q})


def bootstrap_estimates(protocol: str, scorer: str, values: Values, weights_bg: Ints) -> list[Estimate]:
    """Compute each metric of one direction over all queries, and over the queries of each bootstrap resample."""
    # Groups without queries are omitted, because they add no information.
    _, group_q, sizes_g = np.unique(values.group_q, return_inverse=True, return_counts=True)
    means_bm = resampled_means(np.stack(list(values.means.values()), axis=1), values.group_q, weights_bg)
    draws = {**dict(zip(values.means, means_bm.T, strict=True)), **values.draws}
    results = {name: (values_q.mean(), values_q) for name, values_q in values.means.items()}
    results |= {name: (np.median(values_q), values_q) for name, values_q in values.medians.items()}
    return [
        Estimate(
            protocol=protocol,
            scorer=scorer,
            name=name,
            value=float(value),
            draws_b=draws[name],
            sizes_g=sizes_g,
            correlation=correlation_of(np.bincount(group_q, values_q), sizes_g) if set(values_q) <= {0, 1} else None,
        )
        for name, (value, values_q) in results.items()
    ]


def fair_estimates(scores: Scores, test_set: TestSet, weights_bg: Ints) -> list[Estimate]:
    """Estimate the metrics of both directions over all tiles and all distinct captions.

    The accuracy of image to text is the share of tiles whose own caption is among the top k % of captions. The accuracy
    of text to image is the share of captions with at least one of their own tiles among the top k % of tiles.
    `t2i_found_at_10pct` is the share of a caption's own tiles that are among the top 10 % of tiles.
    `t2i_diversity_at_10` is the number of distinct proposal groups among the ten nearest tiles, divided by ten.

    `i2t_accuracy_at_10pct_by_proposal` is averaged over the tiles of each proposal, and then over the proposals.
    Proposals with the same caption are treated as one proposal.

    The bootstrap resamples queries and candidates together. Only the queries are resampled for `recall_at_1`, and for
    the metrics whose names contain `by_proposal`, `map`, `ndcg`, `found` or `diversity`.
    """
    caption_t, group_t, group_c = test_set.caption_t, test_set.group_t, test_set.group_c
    positive_ct = np.arange(len(group_c))[:, None] == caption_t  # a caption's positives are its own tiles
    sides = {
        "i2t": (scores.i2t_tc, positive_ct.T, group_t, group_c),
        "t2i": (scores.t2i_ct, positive_ct, group_c, group_t),
    }
    parts = []
    for direction, side in sides.items():
        draws = resampled_retrieval(direction, *side, weights_bg=weights_bg)
        # a resample has only 63 % of the distinct items, which makes the interval of recall at 1 too wide
        del draws[f"{direction}_recall_at_1"]
        parts.append(replace(values_of(direction, *side[:3]), draws=draws))
    hits_c = np.bincount(caption_t, parts[0].means[HEADLINE]) / np.bincount(caption_t)
    by_proposal = Values(means={f"{HEADLINE}_by_proposal": hits_c}, group_q=group_c)
    recall_c = expected_recall(scores.t2i_ct, positive_ct, top_count(HEADLINE_PERCENT, len(caption_t)))
    # These metrics of text to image need all tiles of a caption, not only its best-ranked tile.
    text_to_all_tiles = Values(
        means={"t2i_found_at_10pct": recall_c, "t2i_diversity_at_10": diversity(scores.t2i_ct, group_t)},
        group_q=group_c,
    )
    return [
        estimate
        for values in (*parts, by_proposal, text_to_all_tiles)
        for estimate in bootstrap_estimates(FAIR, scores.scorer, values, weights_bg)
    ]


def chance_estimates(test_set: TestSet, weights_bg: Ints, seed: int = BOOTSTRAP_SEED) -> list[Estimate]:
    """Estimate the metrics of a random order of the items (scorer `random`) under the protocol `fair`.

    The values are exact expectations, except for the median rank, which is simulated. In place of bootstrap resamples,
    `draws_b` has the values of the metric for simulated random orders.
    """
    group_t, num_tiles, num_captions = test_set.group_t, len(test_set.caption_t), len(test_set.group_c)
    num_draws = len(weights_bg)
    tiles_c = np.bincount(test_set.caption_t, minlength=num_captions)  # number of tiles of each caption
    num_top = top_count(HEADLINE_PERCENT, num_tiles)
    rng = np.random.default_rng(seed)
    # The number of a caption's tiles among the first num_top tiles of a random order is hypergeometric.
    drawn_bc = rng.hypergeometric(tiles_c, num_tiles - tiles_c, num_top, (num_draws, num_captions))
    first_bk = [rng.choice(group_t, min(NUM_TOP, num_tiles), replace=False) for _ in range(num_draws)]
    distinct_b = np.array([len(np.unique(first_k)) / len(first_k) for first_k in first_bk])
    metrics = [
        ("t2i_found_at_10pct", num_top / num_tiles, (drawn_bc / tiles_c).mean(axis=1)),
        ("t2i_diversity_at_10", float(diversity(np.zeros((1, num_tiles)), group_t)[0]), distinct_b),
    ]
    one_t = np.ones(num_tiles, dtype=np.int64)
    num_best = top_count(HEADLINE_PERCENT, num_captions)
    hits_bt = simulated_chance_ranks(one_t, num_captions, num_draws, seed) <= num_best
    by_proposal_b = (hits_bt / tiles_c[test_set.caption_t]).sum(axis=1) / num_captions
    metrics.append((f"{HEADLINE}_by_proposal", num_best / num_captions, by_proposal_b))
    metrics += chance_metrics("i2t", one_t, num_captions, num_draws, seed)
    metrics += chance_metrics("t2i", tiles_c, num_tiles, num_draws, seed)
    return [
        Chance(protocol=FAIR, scorer="random", name=name, value=value, draws_b=draws_b, sizes_g=np.bincount(group_t))
        for name, value, draws_b in metrics
    ]


def chance_metrics(
    direction: str, positives_q: Ints, num_items: int, num_draws: int, seed: int
) -> list[tuple[str, float, Floats]]:
    """Compute the metrics of one direction for random orders of the items.

    For average precision and nDCG, `NUM_CHANCE` random orders are simulated once for each number of positives. Each
    query draws from the orders that were simulated for its number of positives.
    """
    ranks = chance_ranks(positives_q, num_items)
    rank_bq = simulated_chance_ranks(positives_q, num_items, num_draws, seed)
    # exact values (q,) and simulated values (b, q) of each metric
    values: dict[str, tuple[Floats, Any]] = {
        name: (hit_probability(ranks, count), rank_bq <= count)
        for name, count in hit_cutoffs(direction, num_items).items()
    }
    pick_bq = np.random.default_rng(seed).integers(NUM_CHANCE, size=rank_bq.shape)
    exact_mq, drawn_mbq = np.empty((2, len(positives_q))), np.empty((2, *pick_bq.shape))
    tied_1i = np.zeros((1, num_items))  # all items are tied: metrics are means over all orders
    for positives in np.unique(positives_q):
        is_same_q = positives_q == positives
        positive_1i = np.arange(num_items)[None] < positives  # only the number of positives matters
        simulated_mn = np.array(chance_precision_and_ndcg(int(positives), num_items, seed))
        drawn_mbq[:, :, is_same_q] = simulated_mn[:, pick_bq[:, is_same_q]]
        exact_mq[:, is_same_q] = ranking_metrics(tied_1i, positive_1i)
    values |= {
        f"{direction}_map": (exact_mq[0], drawn_mbq[0]),
        f"{direction}_ndcg_at_10": (exact_mq[1], drawn_mbq[1]),
        f"{direction}_normalised_rank": (expected_rank(ranks) / num_items, rank_bq / num_items),
    }
    metrics = [(name, float(exact_q.mean()), drawn_bq.mean(axis=1)) for name, (exact_q, drawn_bq) in values.items()]
    # The median rank has no closed form, so its value is the mean of the simulated medians.
    medians_b = np.median(rank_bq, axis=1)
    return [*metrics, (f"{direction}_median_rank", float(medians_b.mean()), medians_b)]


def diagonal_hits(scores_bb: Floats) -> Floats:
    """Compute hit probabilities for b queries and b items; item i is the only right answer to query i."""
    ranks = rank_best_positives(scores_bb, np.eye(len(scores_bb), dtype=np.bool_))
    return np.stack([hit_probability(ranks, top_count(k, len(scores_bb))) for k in PAPERCLIP_PERCENTS], axis=1)


def paperclip_estimates(scores: Scores, test_set: TestSet, weights_bg: Ints) -> list[Estimate]:
    """Estimate the accuracies by the code of PAPERCLIP, which ranks within batches of 100 tiles and their captions.

    The paper is arXiv 2403.08851, and the code is models/eval_utils.py in its repository. The tiles are divided into
    batches in order of tile id. Equal captions in a batch compete with each other. A last batch of fewer than ten
    tiles is dropped.
    """
    tiles = np.arange(len(test_set.caption_t))
    batches = [tiles[start : start + PAPERCLIP_BATCH_SIZE] for start in range(0, len(tiles), PAPERCLIP_BATCH_SIZE)]
    # A small batch is kept if it is the only one, so that a test split with fewer than ten tiles still gets a value.
    batches = [batch for batch in batches if len(batch) >= MIN_PAPERCLIP_BATCH_SIZE or len(batches) == 1]
    hits = [
        np.hstack(
            [
                diagonal_hits(scores.i2t_tc[np.ix_(batch, test_set.caption_t[batch])]),
                diagonal_hits(scores.t2i_ct[np.ix_(test_set.caption_t[batch], batch)]),
            ]
        )
        for batch in batches
    ]
    names = [f"{direction}_accuracy_at_{k}pct" for direction in ("i2t", "t2i") for k in PAPERCLIP_PERCENTS]
    means = dict(zip(names, np.concatenate(hits).T, strict=True))
    values = Values(means=means, group_q=test_set.group_t[np.concatenate(batches)])
    return bootstrap_estimates(PAPERCLIP, scores.scorer, values, weights_bg)


def equation_estimates(scores: Scores, test_set: TestSet, weights_bg: Ints) -> list[Estimate]:
    """Estimate the accuracies by the equation of PAPERCLIP, which ranks the captions of all tiles for each tile.

    The equation is in section 4.1 of arXiv 2403.08851. If several tiles share a caption, each tile adds a copy of the
    caption to the ranking. All copies have the same score, and only one copy is the right answer.
    """
    caption_t, num_tiles = test_set.caption_t, len(test_set.caption_t)
    tiles_c = np.bincount(caption_t, minlength=len(test_set.group_c))
    own_t1 = scores.i2t_tc[np.arange(num_tiles), caption_t][:, None]  # score of each tile's own caption, (t, 1)
    # The copies of a caption are not stored as separate items, but counted.
    ranks = TiedRanks(
        above_q=(scores.i2t_tc > own_t1) @ tiles_c,
        tied_q=(scores.i2t_tc == own_t1) @ tiles_c,
        positives_q=np.ones(num_tiles, dtype=np.int64),
        num_items=num_tiles,
    )
    # Unlike `top_count`, the equation may round down to 0. With fewer than 100 tiles, the top 1 % is empty.
    hits = {f"i2t_accuracy_at_{k}pct": hit_probability(ranks, k * num_tiles // 100) for k in PERCENTS}
    values = Values(means=hits, group_q=test_set.group_t)
    return bootstrap_estimates(EQUATION, scores.scorer, values, weights_bg)


def difference(ours: Estimate, other: Estimate) -> Difference:
    """Subtract the estimate `other` from the estimate `ours`, resample by resample."""
    return Difference(
        protocol=ours.protocol,
        scorer=ours.scorer,
        name=f"{ours.name}_minus_{other.scorer}",
        value=ours.value - other.value,
        draws_b=ours.draws_b - other.draws_b,
        sizes_g=ours.sizes_g,
        ratio=max(design_ratio(one.value, one.variance, one.sizes_g, one.correlation) for one in (ours, other)),
    )
