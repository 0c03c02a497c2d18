"""What a scorer without a trained model reaches: chance, text search, and an oracle that knows the kind of object."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
from scipy.stats import rankdata

from hubbleclip.core.records import Sample
from hubbleclip.evaluation.metrics.retrieval import Floats, Ints, Ranking, hit_probability

BM25_K1 = 1.2
BM25_B = 0.75
RANK_SHIFT = 60
WORD = re.compile(r"[a-z0-9]+")


def bm25_scores(queries: Sequence[str], documents: Sequence[str]) -> Floats:
    """BM25 scores (q, i) of documents for queries; higher is nearer, 0 means no common word.

    Sum over the query's words t of idf(t) f (k1 + 1) / (f + k1 (1 - b + b |d| / mean|d|)), f the count of t in d,
    idf(t) = ln(1 + (N - n + 0.5) / (n + 0.5)), n the documents that hold t (Robertson & Zaragoza 2009, eq. 3.15, with
    the idf of Lucene, which is never negative).
    """
    counts = [Counter(WORD.findall(document.lower())) for document in documents]
    length_i = np.array([max(1, counted.total()) for counted in counts], dtype=np.float64)
    norm_i = BM25_K1 * (1 - BM25_B + BM25_B * length_i / length_i.mean())
    found = Counter(word for counted in counts for word in counted)
    scores_qi = np.zeros((len(queries), len(documents)))
    weights: dict[str, Floats] = {}
    for row, query in enumerate(queries):
        for word in sorted(set(WORD.findall(query.lower())) & found.keys()):
            if word not in weights:
                f_i = np.array([counted[word] for counted in counts], dtype=np.float64)
                idf = np.log1p((len(documents) - found[word] + 0.5) / (found[word] + 0.5))
                weights[word] = idf * f_i * (BM25_K1 + 1) / (f_i + norm_i)
            scores_qi[row] += weights[word]
    return np.round(scores_qi, 9)


def hybrid_scores(first_qi: Floats, second_qi: Floats) -> Floats:
    """Two scorers as one, by reciprocal rank fusion: the sum of 1 / (60 + rank) (Cormack et al. 2009). Ties take their
    mean rank.
    """
    first_rank_qi, second_rank_qi = (rankdata(-scores_qi, axis=1) for scores_qi in (first_qi, second_qi))
    fused_qi: Floats = np.round(1 / (RANK_SHIFT + first_rank_qi) + 1 / (RANK_SHIFT + second_rank_qi), 12)
    return fused_qi


def metadata_text(sample: Sample) -> str:
    """Target name, instrument and filter: what an archive's form knows of a tile without its proposal."""
    return " ".join(part for part in (sample.target_name, sample.instrument, sample.filter) if part)


def oracle_scores(samples: Sequence[Sample], caption_t: Ints, num_captions: int) -> Floats | None:
    """Scores (t, c) of one who knows the kind of object and nothing else: 1 where a tile of the caption has the tile's
    `target_class`, else 0. None where no tile has a class.
    """
    classes = [sample.target_class or "" for sample in samples]
    if not any(classes):
        return None
    held_c: list[set[str]] = [set() for _ in range(num_captions)]
    for caption, name in zip(caption_t, classes, strict=True):
        held_c[caption].add(name)
    return np.array([[float(bool(name) and name in held) for held in held_c] for name in classes])


def chance_ranking(positives_q: Ints, num_items: int) -> Ranking:
    """Ranking by one who gives every item the same score."""
    even_q = np.full(len(positives_q), num_items)
    return Ranking(above_q=np.zeros_like(even_q), tied_q=even_q, positives_q=positives_q, num_items=num_items)


def simulated_chance_ranks(positives_q: Ints, num_items: int, num_draws: int, seed: int) -> Ints:
    """Ranks (b, q) of each query's best positive, from 1, when the items stand in random order; `num_draws` rows.

    The rank of the best of p among n follows the law of `hit_probability`, which is inverted.
    """
    uniform_bq = np.random.default_rng(seed).random((num_draws, len(positives_q)))
    rank_bq = np.empty(uniform_bq.shape, dtype=np.int64)
    for positives in np.unique(positives_q):
        one = chance_ranking(np.array([positives]), num_items)
        reached_n = np.array([hit_probability(one, num_top)[0] for num_top in range(1, num_items + 1)])
        columns_q = positives_q == positives
        rank_bq[:, columns_q] = np.searchsorted(reached_n, uniform_bq[:, columns_q], side="right") + 1
    return rank_bq
