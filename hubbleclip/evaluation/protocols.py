"""The protocols that turn scores into metrics.

`fair`: every test tile against the distinct captions of all test groups and back, every tile and caption taking part.
`paperclip`: batches of 100 tiles with their own captions, one positive on the diagonal, as in arXiv 2403.08851.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hubbleclip.evaluation.baselines import chance_ranking, simulated_chance_ranks
from hubbleclip.evaluation.bootstrap import interval, resampled_means, resampled_medians, share_interval
from hubbleclip.evaluation.retrieval import (
    PERCENTS,
    RECALLS,
    Floats,
    Ints,
    Ranking,
    expected_rank,
    hit_probability,
    positive_pairs,
    rank_positives,
    share_found,
    top_count,
)

FAIR, PAPERCLIP = "fair", "paperclip"
PAPERCLIP_BATCH = 100
HEADLINE_PERCENT = 10


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scores:
    """One scorer's answers: tiles ask for captions (t, g), captions ask for tiles (g, t); higher is nearer."""

    scorer: str
    i2t_tg: Floats
    t2i_gt: Floats


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Estimate:
    """A figure with its resampled values `draws_b`, from which the intervals of it and of its differences come."""

    protocol: str
    scorer: str
    name: str
    value: float
    draws_b: Floats
    num_groups: int

    @property
    def is_share(self) -> bool:
        """Shares lie in [0, 1]; ranks and differences do not."""
        return "rank" not in self.name and "_minus_" not in self.name

    def interval(self) -> tuple[float, float]:
        """95 % interval of the figure."""
        return (share_interval if self.is_share else interval)(self.draws_b, self.num_groups)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Values:
    """What one direction measured on each query: named columns `shares_qm`, the ranks, and the queries' groups."""

    names: tuple[str, ...]
    shares_qm: Floats
    rank_name: str
    rank_q: Floats
    group_q: Ints


def share_names(direction: str) -> tuple[str, ...]:
    """Names of a direction's retrieval curve and recalls, in the order of `direction_shares`."""
    return (
        *(f"{direction}_accuracy_at_{percent}pct" for percent in PERCENTS),
        *(f"{direction}_recall_at_{count}" for count in RECALLS),
    )


def share_counts(num_items: int) -> list[int]:
    """How many top items each name of `share_names` looks at."""
    return [*(top_count(percent, num_items) for percent in PERCENTS), *(min(count, num_items) for count in RECALLS)]


def values_of(direction: str, ranking: Ranking, group_q: Ints) -> Values:
    """Hits of a ranking at every cut, and expected ranks."""
    shares = [hit_probability(ranking, count) for count in share_counts(ranking.num_items)]
    return Values(
        names=share_names(direction), shares_qm=np.stack(shares, axis=1),
        rank_name=f"{direction}_median_rank", rank_q=expected_rank(ranking), group_q=group_q,
    )  # fmt: skip


def estimates_of(protocol: str, scorer: str, values: Values, weights_bg: Ints) -> list[Estimate]:
    """Figures of one direction with their resamples."""
    num_groups = len(np.unique(values.group_q))
    draws_bm = resampled_means(values.shares_qm, values.group_q, weights_bg)
    out = [
        Estimate(protocol=protocol, scorer=scorer, name=name, value=float(values.shares_qm[:, column].mean()),
                 draws_b=draws_bm[:, column], num_groups=num_groups)
        for column, name in enumerate(values.names)
    ]  # fmt: skip
    if values.rank_name:
        medians_b = resampled_medians(values.rank_q, values.group_q, weights_bg)
        median = float(np.median(values.rank_q))
        out.append(Estimate(protocol=protocol, scorer=scorer, name=values.rank_name, value=median,
                            draws_b=medians_b, num_groups=num_groups))  # fmt: skip
    return out


def fair_estimates(scores: Scores, group_t: Ints, weights_bg: Ints) -> list[Estimate]:
    """Both directions over all tiles and all distinct captions.

    Tile to text: share of tiles whose group's caption is among the top k % of captions. Text to tile: share of captions
    that find any tile of their group among the top k % of tiles; `t2i_found_at_10pct` is the share of its tiles found.
    """
    num_groups = scores.i2t_tg.shape[1]
    group_g = np.arange(num_groups)
    to_text = rank_positives(scores.i2t_tg, positive_pairs(group_t, group_g))
    to_tile = rank_positives(scores.t2i_gt, positive_pairs(group_g, group_t))
    num_top = top_count(HEADLINE_PERCENT, len(group_t))
    found_g = share_found(scores.t2i_gt, positive_pairs(group_g, group_t), num_top)
    found = Values(names=("t2i_found_at_10pct",), shares_qm=found_g[:, None], rank_name="", rank_q=found_g,
                   group_q=group_g)  # fmt: skip
    measured = (values_of("i2t", to_text, group_t), values_of("t2i", to_tile, group_g), found)
    return [one for values in measured for one in estimates_of(FAIR, scores.scorer, values, weights_bg)]


def chance_estimates(group_t: Ints, num_groups: int, num_draws: int, seed: int) -> list[Estimate]:
    """Figures of the `random` scorer under `fair`: exact expectations; the draws are whole random orders, simulated."""
    num_tiles = len(group_t)
    tiles_g = np.bincount(group_t, minlength=num_groups)
    num_top = top_count(HEADLINE_PERCENT, num_tiles)
    rng = np.random.default_rng(seed)
    drawn_bg = rng.hypergeometric(tiles_g, num_tiles - tiles_g, num_top, (num_draws, num_groups))
    figures = [("t2i_found_at_10pct", num_top / num_tiles, (drawn_bg / tiles_g).mean(axis=1))]
    figures += chance_figures("i2t", np.ones(num_tiles, dtype=np.int64), num_groups, num_draws, seed)
    figures += chance_figures("t2i", tiles_g, num_tiles, num_draws, seed)
    return [
        Estimate(protocol=FAIR, scorer="random", name=name, value=value, draws_b=draws_b, num_groups=num_groups)
        for name, value, draws_b in figures
    ]


def chance_figures(
    direction: str, positives_q: Ints, num_items: int, num_draws: int, seed: int
) -> list[tuple[str, float, Floats]]:
    """Name, expectation and simulated draws (b,) of a direction's figures when the items stand in random order."""
    ranking = chance_ranking(positives_q, num_items)
    rank_bq = simulated_chance_ranks(positives_q, num_items, num_draws, seed)
    medians_b = np.median(rank_bq, axis=1)
    shares = [
        (name, float(hit_probability(ranking, count).mean()), (rank_bq <= count).mean(axis=1))
        for name, count in zip(share_names(direction), share_counts(num_items), strict=True)
    ]
    return [*shares, (f"{direction}_median_rank", float(medians_b.mean()), medians_b)]


def diagonal_hits(scores_bb: Floats) -> Floats:
    """Hits (b,) at the top 10 % of a square batch when only the diagonal counts; chance gives 0.1."""
    ranking = rank_positives(scores_bb, np.eye(len(scores_bb), dtype=np.bool_))
    return hit_probability(ranking, top_count(HEADLINE_PERCENT, len(scores_bb)))


def paperclip_estimates(scores: Scores, tile_ids: Sequence[str], group_t: Ints, weights_bg: Ints) -> list[Estimate]:
    """Metric of the reference: batches of 100 tiles in the order of their ids, each with its own caption, so that
    captions shared within a batch compete with each other, as there. A last batch below ten tiles is left out.
    """
    order_t = np.argsort(np.array(tile_ids), kind="stable")
    batches = [order_t[start : start + PAPERCLIP_BATCH] for start in range(0, len(order_t), PAPERCLIP_BATCH)]
    batches = [batch for batch in batches if len(batch) >= 10 or len(batches) == 1]
    hits = [
        np.stack([diagonal_hits(scores.i2t_tg[np.ix_(batch, group_t[batch])]),
                  diagonal_hits(scores.t2i_gt[np.ix_(group_t[batch], batch)])], axis=1)
        for batch in batches
    ]  # fmt: skip
    names = ("i2t_accuracy_at_10pct", "t2i_accuracy_at_10pct")
    values = Values(names=names, shares_qm=np.concatenate(hits), rank_name="", rank_q=np.empty(0),
                    group_q=group_t[np.concatenate(batches)])  # fmt: skip
    return estimates_of(PAPERCLIP, scores.scorer, values, weights_bg)


def difference(ours: Estimate, other: Estimate) -> Estimate:
    """`ours` minus `other` on the same resamples; its interval says whether the two really differ."""
    return Estimate(
        protocol=ours.protocol, scorer=ours.scorer, name=f"{ours.name}_minus_{other.scorer}",
        value=ours.value - other.value, draws_b=ours.draws_b - other.draws_b, num_groups=ours.num_groups,
    )  # fmt: skip
