"""Zero-shot questions with known answers: the catalog's classes and categories as texts, and images asking images.

A class that an archive gives is a list such as `GALAXY;SPIRAL`; each of its terms is a phrase, and right are the tiles
that have it. The queries are few and fixed, so what is resampled are the tiles, by proposal group: the figures of a
resample come from blocks of ties in closed form, the mean over all orders of the copies in it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from scipy.special import digamma, softmax

from hubbleclip.core.records import Sample
from hubbleclip.evaluation.metrics.phrases import OBJECT_PROMPTS
from hubbleclip.evaluation.metrics.protocols import Estimate, Values, estimates_of
from hubbleclip.evaluation.metrics.ranking import TOP, average_precision, ndcg
from hubbleclip.evaluation.metrics.retrieval import Bools, Floats, Ints, cosine_scores, hit_probability, rank_positives

ZERO_SHOT, IMAGES = "zero_shot", "image_to_image"
CATEGORY_PROMPTS = ("{}", "a Hubble image about {}")
NO_KIND = "simulated"
NUM_BINS = 10
IMAGE_FIGURES = ("map", "recall_at_1", "ndcg_at_10")
ROWS = 1024
"""Tiles that ask for others at once."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Labels:
    """Phrases of the catalog, and which tiles each is right for: `is_of_kt`, at least one tile but not all."""

    phrases: tuple[str, ...]
    prompts: tuple[str, ...]
    is_of_kt: Bools


def kinds_of(sample: Sample) -> list[str]:
    """Terms of the class of the target, in lower case."""
    terms = [term.strip().lower() for term in (sample.target_class or "").split(";")]
    return [term for term in terms if term not in {"", NO_KIND}]


def category_of(sample: Sample) -> list[str]:
    """The science category; cycles write the same one differently."""
    return [sample.category.lower().replace("&", "and")] if sample.category else []


QUESTIONS: Mapping[str, tuple[Callable[[Sample], list[str]], tuple[str, ...]]] = {
    "kind": (kinds_of, OBJECT_PROMPTS),
    "category": (category_of, CATEGORY_PROMPTS),
}


def make_labels(samples: Sequence[Sample]) -> dict[str, Labels]:
    """The labels of each question that tells at least two phrases apart, known in at least two proposal groups: of one,
    no interval could be told.
    """
    made = {}
    for name, (read, prompts) in QUESTIONS.items():
        tiles_of: dict[str, list[int]] = defaultdict(list)
        for tile, sample in enumerate(samples):
            for phrase in read(sample):
                tiles_of[phrase].append(tile)
        phrases = tuple(sorted(phrase for phrase, tiles in tiles_of.items() if len(set(tiles)) < len(samples)))
        is_of_kt = np.zeros((len(phrases), len(samples)), dtype=bool)
        for row, phrase in enumerate(phrases):
            is_of_kt[row, tiles_of[phrase]] = True
        groups = {samples[tile].group_id for tiles in tiles_of.values() for tile in tiles}
        if len(phrases) > 1 and len(groups) > 1:
            made[name] = Labels(phrases=phrases, prompts=prompts, is_of_kt=is_of_kt)
    return made


def resampled_figures(scores_i: Floats, positive_i: Bools, weights_bi: Ints) -> tuple[Floats, Floats]:
    """Average precision and nDCG at 10 (b,) of one query where item i stands `weights_bi` times; NaN without positives.

    In a block of e ties with p positives, after n items with m positives, a place w has one with probability p / e, and
    then m + 1 + w r of them up to it, r = (p - 1) / (e - 1); the sum over w of (m + 1 + w r) / (n + 1 + w) is
    r e + (m + 1 - r (n + 1)) (H(n + e) - H(n)), H the harmonic numbers.
    """
    order_i = np.argsort(-scores_i, kind="stable")
    sorted_i = scores_i[order_i]
    starts_k = np.flatnonzero(np.r_[True, sorted_i[1:] != sorted_i[:-1]])
    weights_bi = weights_bi[:, order_i]
    end_bk = np.cumsum(np.add.reduceat(weights_bi, starts_k, axis=1), axis=1)
    found_bk = np.cumsum(np.add.reduceat(weights_bi * positive_i[order_i], starts_k, axis=1), axis=1)
    total_b = found_bk[:, -1]
    counts = np.logical_or.reduceat(positive_i[order_i], starts_k)  # blocks without a positive add nothing
    (start_bk, end_bk), (before_bk, found_bk) = (
        (np.pad(sums_bk, ((0, 0), (1, 0)))[:, :-1][:, counts], sums_bk[:, counts]) for sums_bk in (end_bk, found_bk)
    )
    size_bk, positives_bk = end_bk - start_bk, found_bk - before_bk
    share_bk = positives_bk / np.maximum(size_bk, 1)
    slope_bk = np.maximum(positives_bk - 1, 0) / np.maximum(size_bk - 1, 1)
    places_bk = digamma(end_bk + 1) - digamma(start_bk + 1)
    sums_bk = share_bk * (slope_bk * size_bk + (before_bk + 1 - slope_bk * (start_bk + 1)) * places_bk)
    discount = np.r_[0, np.cumsum(1 / np.log2(np.arange(2, TOP + 2)))]
    gain_bk = share_bk * (discount[np.minimum(end_bk, TOP)] - discount[np.minimum(start_bk, TOP)])
    with np.errstate(invalid="ignore"):
        return sums_bk.sum(axis=1) / total_b, gain_bk.sum(axis=1) / discount[np.minimum(total_b, TOP)]


def label_estimates(
    question: str, scorer: str, scores_kt: Floats, labels: Labels, *, group_t: Ints, weights_bg: Ints
) -> list[Estimate]:
    """Phrases ask for tiles: mean average precision and nDCG at 10 over the phrases. A resample without any tile that
    has a phrase tells nothing, and takes the mean of the others.
    """
    weights_bt = weights_bg[:, group_t]
    drawn = np.array([
        resampled_figures(scores_t, is_of_t, weights_bt)
        for scores_t, is_of_t in zip(scores_kt, labels.is_of_kt, strict=True)
    ])  # fmt: skip
    exact = (average_precision(scores_kt, labels.is_of_kt), ndcg(scores_kt, labels.is_of_kt))
    return [
        Estimate(protocol=ZERO_SHOT, scorer=scorer, name=f"{question}_{name}", value=float(exact_k.mean()),
                 draws_b=centred(_over_phrases(drawn_kb), float(exact_k.mean())), num_groups=weights_bg.shape[1])
        for name, exact_k, drawn_kb in zip(("map", "ndcg_at_10"), exact, drawn.swapaxes(0, 1), strict=True)
    ]  # fmt: skip


def _over_phrases(drawn_kb: Floats) -> Floats:
    is_told_b = np.asarray(np.isfinite(drawn_kb).any(axis=0))
    told_b = np.nanmean(drawn_kb[:, is_told_b], axis=0)
    mean_b: Floats = np.full(len(is_told_b), told_b.mean())
    mean_b[is_told_b] = told_b
    return mean_b


def naming_estimates(
    question: str, scorer: str, logits_tk: Floats, labels: Labels, *, group_t: Ints, weights_bg: Ints
) -> list[Estimate]:
    """Tiles ask for their phrase: how often the first and the first five hold it, and the expected calibration error
    (Naeini et al. 2015): the mean distance of confidence and accuracy over ten bins of confidence.
    """
    known_t = labels.is_of_kt.any(axis=0)
    logits_tk, is_of_tk, group_t = logits_tk[known_t], labels.is_of_kt.T[known_t], group_t[known_t]
    ranking = rank_positives(logits_tk, is_of_tk)
    top1_t, top5_t = hit_probability(ranking, 1), hit_probability(ranking, 5)
    values = Values(
        names=(f"{question}_top1", f"{question}_top5"), shares_qm=np.stack([top1_t, top5_t], axis=1),
        rank_name="", rank_q=top1_t, group_q=group_t,
    )  # fmt: skip
    confidence_t = softmax(logits_tk, axis=1).max(axis=1)
    drawn_bt = np.vstack([np.ones((1, len(group_t)), dtype=np.int64), weights_bg[:, group_t]])
    error_b = calibration_error(confidence_t, top1_t, drawn_bt)
    error = Estimate(
        protocol=ZERO_SHOT, scorer=scorer, name=f"{question}_calibration_error", value=float(error_b[0]),
        draws_b=centred(error_b[1:], float(error_b[0])), num_groups=len(np.unique(group_t)),
    )  # fmt: skip
    return [*estimates_of(ZERO_SHOT, scorer, values, weights_bg), error]


def centred(draws_b: Floats, value: float) -> Floats:
    """Draws in [0, 1] about the figure: the copies of a tile in a resample agree, which lifts every resample alike."""
    centred_b: Floats = np.clip(draws_b - draws_b.mean() + value, 0.0, 1.0)
    return centred_b


def calibration_error(confidence_t: Floats, correct_t: Floats, weights_bt: Ints) -> Floats:
    """Expected calibration error (b,) where tile t stands `weights_bt` times."""
    bin_t = np.minimum((confidence_t * NUM_BINS).astype(int), NUM_BINS - 1)
    surplus_tn = np.zeros((len(bin_t), NUM_BINS))
    surplus_tn[np.arange(len(bin_t)), bin_t] = confidence_t - correct_t
    error_b: Floats = np.abs(weights_bt @ surplus_tn).sum(axis=1) / np.maximum(weights_bt.sum(axis=1), 1)
    return error_b


def image_estimates(
    scorer: str, tiles_td: Floats, samples: Sequence[Sample], group_t: Ints, weights_bg: Ints
) -> list[Estimate]:
    """Tiles ask for tiles, which no text can answer: those of their own proposal group among all others, and those with
    a kind in common among the tiles of other groups. Some tiles ask at once: all would take memory by their square.
    """
    is_of_tk = _kinds_of_tiles(samples)
    found: dict[str, list[Floats]] = defaultdict(list)
    asked: dict[str, list[Ints]] = defaultdict(list)
    for start in range(0, len(group_t), ROWS):
        rows = np.arange(start, min(start + ROWS, len(group_t)))
        scores_rt = cosine_scores(tiles_td[rows], tiles_td)
        same_group_rt = group_t[rows, None] == group_t[None, :]
        itself_rt = rows[:, None] == np.arange(len(group_t))
        shared_rt = is_of_tk[rows] @ is_of_tk.T > 0
        questions = {
            "same_proposal": (same_group_rt & ~itself_rt, itself_rt),
            "same_kind": (shared_rt & ~same_group_rt, same_group_rt),
        }
        for name, (positive_rt, left_out_rt) in questions.items():
            asked_r = positive_rt.any(axis=1)
            scores_qt = np.where(left_out_rt, -np.inf, scores_rt)[asked_r]
            found[name].append(_image_figures(scores_qt, positive_rt[asked_r]))
            asked[name].append(group_t[rows][asked_r])
    estimates: list[Estimate] = []
    for name, parts in found.items():
        group_q = np.concatenate(asked[name])
        if len(np.unique(group_q)) > 1:
            values = Values(
                names=tuple(f"{name}_{figure}" for figure in IMAGE_FIGURES), shares_qm=np.concatenate(parts),
                rank_name="", rank_q=np.empty(0), group_q=group_q,
            )  # fmt: skip
            estimates += estimates_of(IMAGES, scorer, values, weights_bg)
    return estimates


def _kinds_of_tiles(samples: Sequence[Sample]) -> Floats:
    """1 where a tile (t, k) is of a kind, else 0."""
    kinds = [kinds_of(sample) for sample in samples]
    number_of = {kind: number for number, kind in enumerate(sorted(set(chain.from_iterable(kinds))))}
    is_of_tk = np.zeros((len(samples), len(number_of)))
    for tile, of_tile in enumerate(kinds):
        is_of_tk[tile, [number_of[kind] for kind in of_tile]] = 1
    return is_of_tk


def _image_figures(scores_qt: Floats, positive_qt: Bools) -> Floats:
    """`IMAGE_FIGURES` (q, m) of each query."""
    columns = (
        average_precision(scores_qt, positive_qt),
        hit_probability(rank_positives(scores_qt, positive_qt), 1),
        ndcg(scores_qt, positive_qt),
    )
    return np.stack(columns, axis=1)
