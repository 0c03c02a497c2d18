"""Baselines for models: chance, text search (BM25), its fusion with a model, and an oracle that knows the classes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from hubbleclip.core.records import Sample
from hubbleclip.core.vectors import unit
from hubbleclip.evaluation.metrics.retrieval import Floats, Ints, TiedRanks, hit_probability

BM25_K1 = 1.2
BM25_B = 0.75
MODEL_WEIGHT = 2.0
"""Factor by which the similarity of the model is multiplied before the BM25 score is added."""
NUM_EXAMPLES = 3
"""Number of items with the best BM25 scores whose features are added to the query (pseudo-relevance feedback). This
number and `MODEL_WEIGHT` were chosen by `experiments/short_queries`."""
SCORE_DECIMALS = 9
"""Number of decimals of fused scores. Scores that differ only by rounding errors become equal."""
WORD = re.compile(r"[a-z0-9]+")


def bm25_scores(queries: Sequence[str], documents: Sequence[str]) -> Floats:
    """Score every document for every query by BM25.

    The score of a document d is the sum, over the words t of the query, of
    idf(t) f (k1 + 1) / (f + k1 (1 - b + b |d| / mean|d|)). Here f is the number of times that t occurs in d, and |d| is
    the number of words of d. The weight of a word is idf(t) = ln(1 + (N - n + 0.5) / (n + 0.5)), where n of the N
    documents contain t. The formula is eq. 3.15 of Robertson & Zaragoza 2009, with the idf of Lucene, which is never
    negative.
    """
    counts = [Counter(WORD.findall(document.lower())) for document in documents]
    # The length is at least 1, so that empty documents cause no division by 0.
    length_i = np.array([max(1, counted.total()) for counted in counts], dtype=np.float64)
    norm_i = BM25_K1 * (1 - BM25_B + BM25_B * length_i / length_i.mean())
    document_frequency = Counter(word for counted in counts for word in counted)
    scores_qi = np.zeros((len(queries), len(documents)))
    term_scores: dict[str, Floats] = {}  # scores (i,) of a word in every document, reused by all queries
    for row, query in enumerate(queries):
        # Words are sorted: the order of the additions changes the last bits, so it must not depend on the hash seed.
        for word in sorted(set(WORD.findall(query.lower())) & document_frequency.keys()):
            if word not in term_scores:
                f_i = np.array([counted[word] for counted in counts], dtype=np.float64)
                n = document_frequency[word]
                idf = np.log1p((len(documents) - n + 0.5) / (n + 0.5))
                term_scores[word] = idf * f_i * (BM25_K1 + 1) / (f_i + norm_i)
            scores_qi[row] += term_scores[word]
    return np.round(scores_qi, 9)  # rounded, so that documents with the same words have equal scores


def fused_scores(
    words_i: Floats, query_d: Floats, feat_id: npt.NDArray[np.floating], text_weight: float = 1.0
) -> Floats:
    """Score items for a query by BM25 and by a model together; the search ranks tiles by this score.

    `words_i` has the BM25 scores of the items, and `feat_id` has their features. A query consists of weighted terms,
    which are texts or images. The features of the terms have length 1, and `query_d` is their weighted sum.
    `text_weight` is the sum of the positive weights of the terms that are texts.
    """
    best = np.argsort(-words_i, kind="stable")[:NUM_EXAMPLES]
    sought_d = query_d + text_weight * unit(words_i[best] @ feat_id[best])
    return np.asarray(np.round(words_i + MODEL_WEIGHT * (feat_id @ sought_d), SCORE_DECIMALS))


def hybrid_scores(words_qi: Floats, query_qd: Floats, feat_id: Floats) -> Floats:
    """Score every item for every query by `fused_scores`, as the search does."""
    return np.array(
        [fused_scores(words_i, unit(query_d), feat_id) for words_i, query_d in zip(words_qi, query_qd, strict=True)]
    )


def metadata_text(sample: Sample) -> str:
    """Describe a tile by metadata that an archive's search form offers; the proposal's text is not used."""
    return " ".join(part for part in (sample.target_name, sample.instrument, sample.filter) if part)


def oracle_scores(samples: Sequence[Sample], caption_t: Ints, num_captions: int) -> Floats | None:
    """Score captions for tiles by an oracle that knows only the target classes; None if no tile has a class."""
    classes, class_t = np.unique([sample.target_class or "" for sample in samples], return_inverse=True)
    if not any(classes):
        return None
    is_of_kc = np.zeros((len(classes), num_captions))
    is_of_kc[class_t, caption_t] = 1
    is_of_kc[classes == ""] = 0  # for a tile without a class, all captions have the score 0
    return is_of_kc[class_t]


def chance_ranks(positives_q: Ints, num_items: int) -> TiedRanks:
    """Make the ranks of a scorer that gives every item the same score, so that all items are tied."""
    all_q = np.full(len(positives_q), num_items)  # every item is in the tie
    return TiedRanks(above_q=np.zeros_like(all_q), tied_q=all_q, positives_q=positives_q, num_items=num_items)


def simulated_chance_ranks(positives_q: Ints, num_items: int, num_draws: int, seed: int) -> Ints:
    """Simulate the rank of each query's best positive if the items are in random order.

    `hit_probability` gives the cumulative distribution of the best rank of p positives among n items. The ranks are
    drawn by inverting this distribution.
    """
    uniform_bq = np.random.default_rng(seed).random((num_draws, len(positives_q)))
    rank_bq = np.empty(uniform_bq.shape, dtype=np.int64)
    for positives in np.unique(positives_q):
        ranks = chance_ranks(np.array([positives]), num_items)
        cumulative_n = np.array([hit_probability(ranks, num_top)[0] for num_top in range(1, num_items + 1)])
        columns_q = positives_q == positives
        rank_bq[:, columns_q] = np.searchsorted(cumulative_n, uniform_bq[:, columns_q], side="right") + 1
    return rank_bq
