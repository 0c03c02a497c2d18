"""The protocols that turn scores into metrics.

`fair`: every test tile against the distinct captions of all test proposals and back, every tile and caption
taking part.
`views`: the same, but a tile stands with the mean of its proposal's tiles.
`paperclip`: as the code of arXiv 2403.08851 measures (models/eval_utils.py): batches of 100 tiles with their own
captions, one positive on the diagonal, the first 1, 5, 10 and 20 of 100.
`paperclip_equation`: as the paper says it measures (its section 4.1): each image among the captions of all |V| images,
its own counting once for each image that has it; a hit has a rank of at most floor(k |V| / 100).
The two differ: a tenth of 100 against a tenth of all, text to image against image to text, and whole batches alone
against all images. Where captions are shared, both leave the rank to the order of ties; here that is its expectation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hubbleclip.evaluation.metrics.baselines import chance_ranking, simulated_chance_ranks
from hubbleclip.evaluation.metrics.bootstrap import (
    draw_weights,
    interval,
    resampled_means,
    resampled_medians,
    share_interval,
)
from hubbleclip.evaluation.metrics.ranking import NUM_CHANCE, TOP, average_precision, chance_values, diversity, ndcg
from hubbleclip.evaluation.metrics.retrieval import (
    PERCENTS,
    RECALLS,
    Bools,
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
from hubbleclip.evaluation.test_set import TestSet

FAIR, VIEWS, PAPERCLIP, EQUATION = "fair", "views", "paperclip", "paperclip_equation"
PAPERCLIP_BATCH = 100
PAPERCLIP_PERCENTS = (1, 5, 10, 20)
HEADLINE_PERCENT = 10


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scores:
    """One scorer's answers: tiles ask for captions (t, c), captions ask for tiles (c, t); higher is nearer."""

    scorer: str
    i2t_tc: Floats
    t2i_ct: Floats


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Owners:
    """Each tile's own caption (t,), and each caption's group (c,), by which the resamples `weights_bg` are drawn."""

    caption_t: Ints
    group_c: Ints
    weights_bg: Ints

    @property
    def group_t(self) -> Ints:
        """Each tile's group."""
        return self.group_c[self.caption_t]


def draw_owners(test_set: TestSet, num_resamples: int, seed: int) -> Owners:
    """The owners of a test set, with resamples of its groups."""
    weights_bg = draw_weights(test_set.num_groups, num_resamples, seed)
    return Owners(caption_t=test_set.caption_t, group_c=test_set.group_c, weights_bg=weights_bg)


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
        """95 % interval of the figure; it holds the figure, which resamples of a curved one may miss on one side."""
        low, high = (share_interval if self.is_share else interval)(self.draws_b, self.num_groups)
        return min(low, self.value), max(high, self.value)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Values:
    """What one direction measured on each query: named columns `shares_qm`, the ranks, and the queries' groups."""

    names: tuple[str, ...]
    shares_qm: Floats
    rank_name: str
    rank_q: Floats
    group_q: Ints


def hit_names(direction: str) -> tuple[str, ...]:
    """Names of a direction's retrieval curve and recalls, in the order of `hit_counts`."""
    return (
        *(f"{direction}_accuracy_at_{percent}pct" for percent in PERCENTS),
        *(f"{direction}_recall_at_{count}" for count in RECALLS),
    )


def hit_counts(num_items: int) -> list[int]:
    """How many top items each name of `hit_names` looks at."""
    return [*(top_count(percent, num_items) for percent in PERCENTS), *(min(count, num_items) for count in RECALLS)]


def values_of(direction: str, scores_qi: Floats, positive_qi: Bools, group_q: Ints) -> Values:
    """Hits at every cut, mean average precision, nDCG at 10, and expected ranks."""
    ranking = rank_positives(scores_qi, positive_qi)
    rank_q = expected_rank(ranking)
    columns = dict(
        zip(
            hit_names(direction),
            (hit_probability(ranking, count) for count in hit_counts(ranking.num_items)),
            strict=True,
        )
    )
    columns[f"{direction}_map"] = average_precision(scores_qi, positive_qi)
    columns[f"{direction}_ndcg_at_10"] = ndcg(scores_qi, positive_qi)
    columns[f"{direction}_normalised_rank"] = rank_q / ranking.num_items
    return Values(
        names=tuple(columns), shares_qm=np.stack(list(columns.values()), axis=1),
        rank_name=f"{direction}_median_rank", rank_q=rank_q, group_q=group_q,
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


def fair_estimates(scores: Scores, owners: Owners, *, protocol: str = FAIR) -> list[Estimate]:
    """Both directions over all tiles and all distinct captions.

    Tile to text: share of tiles whose own caption is among the top k % of captions. Text to tile: share of captions
    that find any of their tiles among the top k % of tiles; `t2i_found_at_10pct` is the share of its tiles found,
    `t2i_diversity_at_10` the distinct proposal groups among the ten nearest tiles, as a share of ten.
    """
    caption_t, group_c = owners.caption_t, owners.group_c
    wanted_ct = positive_pairs(np.arange(len(group_c)), caption_t)
    found_c = share_found(scores.t2i_ct, wanted_ct, top_count(HEADLINE_PERCENT, len(caption_t)))
    whole = Values(
        names=("t2i_found_at_10pct", "t2i_diversity_at_10"),
        shares_qm=np.stack([found_c, diversity(scores.t2i_ct, owners.group_t)], axis=1),
        rank_name="", rank_q=found_c, group_q=group_c,
    )  # fmt: skip
    to_text = values_of("i2t", scores.i2t_tc, wanted_ct.T, owners.group_t)
    to_tile = values_of("t2i", scores.t2i_ct, wanted_ct, group_c)
    measured = (to_text, to_tile, whole)
    return [one for values in measured for one in estimates_of(protocol, scores.scorer, values, owners.weights_bg)]


def chance_estimates(owners: Owners, seed: int) -> list[Estimate]:
    """Figures of the `random` scorer under `fair`: exact expectations; the draws are whole random orders, simulated."""
    group_t, num_tiles, num_captions = owners.group_t, len(owners.caption_t), len(owners.group_c)
    num_draws, num_groups = owners.weights_bg.shape
    tiles_c = np.bincount(owners.caption_t, minlength=num_captions)
    num_top = top_count(HEADLINE_PERCENT, num_tiles)
    rng = np.random.default_rng(seed)
    drawn_bc = rng.hypergeometric(tiles_c, num_tiles - tiles_c, num_top, (num_draws, num_captions))
    first_bk = [rng.choice(group_t, min(TOP, num_tiles), replace=False) for _ in range(num_draws)]
    distinct_b = np.array([len(np.unique(first_k)) / len(first_k) for first_k in first_bk])
    figures = [
        ("t2i_found_at_10pct", num_top / num_tiles, (drawn_bc / tiles_c).mean(axis=1)),
        ("t2i_diversity_at_10", float(diversity(np.zeros((1, num_tiles)), group_t)[0]), distinct_b),
    ]
    figures += chance_figures("i2t", np.ones(num_tiles, dtype=np.int64), num_captions, num_draws, seed)
    figures += chance_figures("t2i", tiles_c, num_tiles, num_draws, seed)
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
        for name, count in zip(hit_names(direction), hit_counts(num_items), strict=True)
    ]
    return [
        *shares,
        *chance_of_orders(direction, positives_q, num_items, num_draws, seed),
        (f"{direction}_normalised_rank", float(expected_rank(ranking).mean() / num_items),
         rank_bq.mean(axis=1) / num_items),
        (f"{direction}_median_rank", float(medians_b.mean()), medians_b),
    ]  # fmt: skip


def chance_of_orders(
    direction: str, positives_q: Ints, num_items: int, num_draws: int, seed: int
) -> list[tuple[str, float, Floats]]:
    """Average precision and nDCG by chance: each query draws from the random orders of as many positives."""
    pick_bq = np.random.default_rng(seed).integers(NUM_CHANCE, size=(num_draws, len(positives_q)))
    drawn_fbq = np.empty((2, *pick_bq.shape))
    exact_fq = np.empty((2, len(positives_q)))
    no_opinion_1i = np.zeros((1, num_items))
    for positives in np.unique(positives_q):
        of_q = positives_q == positives
        wanted_1i = np.arange(num_items)[None] < positives
        for row, values_b in enumerate(chance_values(int(positives), num_items, seed)):
            drawn_fbq[row][:, of_q] = values_b[pick_bq[:, of_q]]
        exact_fq[:, of_q] = [average_precision(no_opinion_1i, wanted_1i), ndcg(no_opinion_1i, wanted_1i)]
    names = (f"{direction}_map", f"{direction}_ndcg_at_10")
    return [
        (name, float(exact_q.mean()), drawn_bq.mean(axis=1))
        for name, exact_q, drawn_bq in zip(names, exact_fq, drawn_fbq, strict=True)
    ]


def diagonal_hits(scores_bb: Floats) -> Floats:
    """Hits (b, k) of a square batch at `PAPERCLIP_PERCENTS` when only the diagonal counts; chance gives their share."""
    ranking = rank_positives(scores_bb, np.eye(len(scores_bb), dtype=np.bool_))
    return np.stack([hit_probability(ranking, top_count(k, len(scores_bb))) for k in PAPERCLIP_PERCENTS], axis=1)


def paperclip_estimates(scores: Scores, tile_ids: Sequence[str], owners: Owners) -> list[Estimate]:
    """Metric of the reference's code: batches of 100 tiles in the order of their ids, each with its own caption, so
    that captions shared within a batch compete with each other, as there. A last batch below ten tiles is left out.
    """
    order_t = np.argsort(np.array(tile_ids), kind="stable")
    batches = [order_t[start : start + PAPERCLIP_BATCH] for start in range(0, len(order_t), PAPERCLIP_BATCH)]
    batches = [batch for batch in batches if len(batch) >= 10 or len(batches) == 1]
    hits = [
        np.hstack([diagonal_hits(scores.i2t_tc[np.ix_(batch, owners.caption_t[batch])]),
                   diagonal_hits(scores.t2i_ct[np.ix_(owners.caption_t[batch], batch)])])
        for batch in batches
    ]  # fmt: skip
    names = tuple(f"{direction}_accuracy_at_{k}pct" for direction in ("i2t", "t2i") for k in PAPERCLIP_PERCENTS)
    values = Values(names=names, shares_qm=np.concatenate(hits), rank_name="", rank_q=np.empty(0),
                    group_q=owners.group_t[np.concatenate(batches)])  # fmt: skip
    return estimates_of(PAPERCLIP, scores.scorer, values, owners.weights_bg)


def equation_estimates(scores: Scores, owners: Owners) -> list[Estimate]:
    """Metric of the paper's equation: each tile's own caption, one right answer, among the captions of all tiles.

    A caption stands as often as it has tiles: all its copies score the same, and one of them is the right one.
    """
    caption_t, num_tiles = owners.caption_t, len(owners.caption_t)
    tiles_c = np.bincount(caption_t, minlength=len(owners.group_c))
    own_t1 = scores.i2t_tc[np.arange(num_tiles), caption_t][:, None]
    ranking = Ranking(
        above_q=(scores.i2t_tc > own_t1) @ tiles_c, tied_q=(scores.i2t_tc == own_t1) @ tiles_c,
        positives_q=np.ones(num_tiles, dtype=np.int64), num_items=num_tiles,
    )  # fmt: skip
    hits = [hit_probability(ranking, percent * num_tiles // 100) for percent in PERCENTS]
    values = Values(names=tuple(f"i2t_accuracy_at_{percent}pct" for percent in PERCENTS),
                    shares_qm=np.stack(hits, axis=1), rank_name="", rank_q=np.empty(0),
                    group_q=owners.group_t)  # fmt: skip
    return estimates_of(EQUATION, scores.scorer, values, owners.weights_bg)


def difference(ours: Estimate, other: Estimate) -> Estimate:
    """`ours` minus `other` on the same resamples; its interval says whether the two really differ."""
    return Estimate(
        protocol=ours.protocol, scorer=ours.scorer, name=f"{ours.name}_minus_{other.scorer}",
        value=ours.value - other.value, draws_b=ours.draws_b - other.draws_b, num_groups=ours.num_groups,
    )  # fmt: skip
