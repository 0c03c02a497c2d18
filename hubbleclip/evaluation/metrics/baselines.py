"""Scorers without a trained model: chance, text search (BM25), and an oracle that knows only the class of object."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
from scipy.stats import rankdata

from hubbleclip.core.records import Sample
from hubbleclip.evaluation.metrics.retrieval import Floats, Ints, TiedRanks, hit_probability

BM25_K1 = 1.2
BM25_B = 0.75
RRF_K = 60
"""Constant of reciprocal rank fusion."""
WORD = re.compile(r"[a-z0-9]+")


def bm25_scores(queries: Sequence[str], documents: Sequence[str]) -> Floats:
    """Score documents for queries by BM25.

    Parameters
    ----------
    queries : sequence of str
        The q queries; a repeated word counts once.
    documents : sequence of str
        The i documents.

    Returns
    -------
    ndarray
        Scores (q, i) of at least 0; higher is more relevant, 0 means no common word.

    Notes
    -----
    The sum over the query's words t of idf(t) f (k1 + 1) / (f + k1 (1 - b + b |d| / mean|d|)), f the count of t in d,
    idf(t) = ln(1 + (N - n + 0.5) / (n + 0.5)), n the documents that contain t (Robertson & Zaragoza 2009, eq. 3.15,
    with the idf of Lucene, which is never negative).

    """
    counts = [Counter(WORD.findall(document.lower())) for document in documents]
    length_i = np.array(
        [max(1, counted.total()) for counted in counts], dtype=np.float64
    )  # an empty text: no division by 0
    norm_i = BM25_K1 * (1 - BM25_B + BM25_B * length_i / length_i.mean())
    document_frequency = Counter(word for counted in counts for word in counted)
    scores_qi = np.zeros((len(queries), len(documents)))
    term_scores: dict[str, Floats] = {}  # word -> its score (i,) in every document, shared by the queries
    for row, query in enumerate(queries):
        # Sorted words: the order of the sums, and so the last bits, do not depend on the hash seed.
        for word in sorted(set(WORD.findall(query.lower())) & document_frequency.keys()):
            if word not in term_scores:
                f_i = np.array([counted[word] for counted in counts], dtype=np.float64)
                n = document_frequency[word]
                idf = np.log1p((len(documents) - n + 0.5) / (n + 0.5))
                term_scores[word] = idf * f_i * (BM25_K1 + 1) / (f_i + norm_i)
            scores_qi[row] += term_scores[word]
    return np.round(scores_qi, 9)  # documents with the same words are ties, whatever the rounding of the sums


def hybrid_scores(first_qi: Floats, second_qi: Floats) -> Floats:
    """Fuse two scorers by reciprocal rank fusion; ties take their mean rank.

    Parameters
    ----------
    first_qi, second_qi : ndarray
        Scores (q, i) of the same items for the same queries, on any scale.

    Returns
    -------
    ndarray
        Fused scores (q, i).

    Notes
    -----
    The sum of 1 / (60 + rank) over the scorers (Cormack, Clarke & Buettcher 2009).

    """
    first_rank_qi, second_rank_qi = (rankdata(-scores_qi, axis=1) for scores_qi in (first_qi, second_qi))
    # Rounded, so that equal sums of different ranks are ties.
    fused_qi: Floats = np.round(1 / (RRF_K + first_rank_qi) + 1 / (RRF_K + second_rank_qi), 12)
    return fused_qi


def metadata_text(sample: Sample) -> str:
    """Describe a tile by what an archive's search form knows without the proposal.

    Parameters
    ----------
    sample : Sample
        Row of the tile.

    Returns
    -------
    str
        Target name, instrument and filter, those that are known.

    """
    return " ".join(part for part in (sample.target_name, sample.instrument, sample.filter) if part)


def oracle_scores(samples: Sequence[Sample], caption_t: Ints, num_captions: int) -> Floats | None:
    """Score by an oracle that knows the class of object and nothing else.

    Parameters
    ----------
    samples : sequence of Sample
        Rows of the t tiles.
    caption_t : ndarray
        Index (t,) of each tile's own caption.
    num_captions : int
        Number c of captions.

    Returns
    -------
    ndarray or None
        Scores (t, c): 1 where a tile of the caption has the tile's `target_class`, else 0. None if no tile has a class.

    """
    classes = [sample.target_class or "" for sample in samples]
    if not any(classes):
        return None
    classes_c: list[set[str]] = [set() for _ in range(num_captions)]
    for caption, name in zip(caption_t, classes, strict=True):
        classes_c[caption].add(name)
    return np.array([[float(bool(name) and name in of_caption) for of_caption in classes_c] for name in classes])


def chance_ranks(positives_q: Ints, num_items: int) -> TiedRanks:
    """Rank all items as tied, as by a scorer that gives every item the same score.

    Parameters
    ----------
    positives_q : ndarray
        Number (q,) of positives of each query.
    num_items : int
        Number of items.

    Returns
    -------
    TiedRanks
        One tie of all items per query.

    """
    all_q = np.full(len(positives_q), num_items)  # no item scores above or below the tie
    return TiedRanks(above_q=np.zeros_like(all_q), tied_q=all_q, positives_q=positives_q, num_items=num_items)


def simulated_chance_ranks(positives_q: Ints, num_items: int, num_draws: int, seed: int) -> Ints:
    """Draw the rank of each query's best positive among items in random order.

    Parameters
    ----------
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
    ndarray
        Ranks (b, q) from 1.

    Notes
    -----
    The cumulative distribution of the best rank of p positives among n items is `hit_probability`; it is inverted.

    """
    uniform_bq = np.random.default_rng(seed).random((num_draws, len(positives_q)))
    rank_bq = np.empty(uniform_bq.shape, dtype=np.int64)
    for positives in np.unique(positives_q):
        ranks = chance_ranks(np.array([positives]), num_items)
        cumulative_n = np.array([hit_probability(ranks, num_top)[0] for num_top in range(1, num_items + 1)])
        columns_q = positives_q == positives
        rank_bq[:, columns_q] = np.searchsorted(cumulative_n, uniform_bq[:, columns_q], side="right") + 1
    return rank_bq
