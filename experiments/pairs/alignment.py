"""Align the features of pictures and captions by a canonical correlation analysis, which has a closed form."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from experiments.pairs.frozen_features import Floats, Pairs
from hubbleclip.core.vectors import unit

WORD = re.compile(r"[a-z]{3,}")
MIN_TEXTS, MAX_TEXT_SHARE = 2, 0.5
"""Limits for the number of texts that contain a word: a minimum number, and a maximum share of all texts.

A word in fewer than two texts cannot link texts, and a word in more than half of the texts does not distinguish them.
"""
RIDGE = 1.0
"""Strength of the regularisation: this multiple of the mean variance is added to each variance."""
MIN_DEVIATION = 1e-3
"""Value added to each standard deviation, so that a constant feature does not cause a division by zero."""


def count_words(text: str) -> Counter[str]:
    """Count the words in a text that have at least three letters."""
    return Counter(WORD.findall(text.lower()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """The words that are used as text features, with their weights.

    Notes
    -----
    The weight of a word is its inverse document frequency, the logarithm of (number of texts) / (number of texts that
    contain the word) (Sparck Jones 1972).

    """

    weights: dict[str, float]

    def features(self, texts: Sequence[str]) -> Floats:
        """Compute the weighted logarithmic counts of the words in texts."""
        column_of = {word: column for column, word in enumerate(self.weights)}
        counts_nw = np.zeros((len(texts), len(column_of)), np.float32)
        for row, text in enumerate(texts):
            for word, count in count_words(text).items():
                if word in column_of:
                    # the logarithm reduces the effect of repeated words
                    counts_nw[row, column_of[word]] = np.log1p(count) * self.weights[word]
        return unit(counts_nw)


def fit_words(texts: Sequence[str]) -> Words:
    """Choose the words that are used as text features, and compute their weights."""
    num_texts = Counter(word for text in texts for word in count_words(text))  # number of texts that contain each word
    words = sorted(word for word, num in num_texts.items() if MIN_TEXTS <= num <= MAX_TEXT_SHARE * len(texts))
    return Words(weights={word: float(np.log(len(texts) / num_texts[word])) for word in words})


def align(one_nd: Floats, other_ne: Floats, ridge: float = RIDGE) -> tuple[Floats, Floats]:
    """Compute a regularised canonical correlation analysis of two sets of features.

    The method is the canonical ridge (Vinod 1976).
    """
    (one_nr, from_one), (other_ns, from_other) = _whitened(one_nd, ridge), _whitened(other_ne, ridge)
    # the canonical correlations are the singular values of the cross-covariance of the whitened features
    left, correlation_k, right = np.linalg.svd(one_nr.T @ other_ns, full_matrices=False)
    return from_one @ (left * correlation_k), from_other @ (right.T * correlation_k)


def _whitened(centred_nd: Floats, ridge: float) -> tuple[Floats, Floats]:
    """Return whitened features (n, r), divided by the square root of n, and the matrix (d, r) that whitens features."""
    left_nr, singular_r, right_rd = np.linalg.svd(centred_nd, full_matrices=False)
    variance_r = singular_r**2 / len(centred_nd)
    scale_r = np.sqrt(variance_r + ridge * variance_r.mean())
    return left_nr * np.sqrt(variance_r) / scale_r, right_rd.T / scale_r


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Alignment:
    """A fitted canonical correlation analysis of picture features with caption features.

    Attributes
    ----------
    mean_d, scale_d
        Mean and scale by which each column of the picture features is standardised.
    picture_map, text_map
        Projections into the common space, shapes (d, k) and (e, k).
    mean_e
        Mean of the text features.
    words
        The words whose weighted counts are text features.

    """

    mean_d: Floats
    scale_d: Floats
    picture_map: Floats
    mean_e: Floats
    text_map: Floats
    words: Words

    def embed_pictures(self, views_nvd: Floats) -> Floats:
        """Project pictures into the common space."""
        mean_nd = views_nvd.mean(axis=1)[:, : len(self.mean_d)]
        return unit(((mean_nd - self.mean_d) / self.scale_d @ self.picture_map).astype(np.float32))

    def embed_texts(self, texts: Sequence[str], features_ne: Floats) -> Floats:
        """Project texts into the common space."""
        mapped_nk: Floats = ((text_inputs(self.words, texts, features_ne) - self.mean_e) @ self.text_map).astype(
            np.float32
        )
        return unit(mapped_nk)


def text_inputs(words: Words, texts: Sequence[str], features_ne: Floats) -> Floats:
    """Append the weighted counts of words to the features of texts."""
    return np.concatenate([features_ne, words.features(texts)], axis=1)


def fit_alignment(pairs: Pairs, *, is_final_only: bool = False, has_words: bool = True) -> Alignment:
    """Fit a canonical correlation analysis of the pictures and captions of training pairs.

    The picture features are those of the last stages of the image tower. The caption features are those of the text
    tower, and weighted counts of words.
    """
    width = pairs.final_width
    # first the final features (mean and maximum), then the features of the earlier stages (see `Pairs`)
    ends = [width] if is_final_only else [2 * width, pairs.views_nvd.shape[-1]]
    mean_nd = pairs.views_nvd.mean(axis=1)[:, : ends[-1]]
    # each part is divided by the square root of its width, so that all parts have the same weight
    widths = np.diff([0, *ends])
    scale_d = (mean_nd.std(axis=0) + MIN_DEVIATION) * np.sqrt(np.repeat(widths, widths)).astype(np.float32)
    mean_d, words = mean_nd.mean(axis=0), fit_words(pairs.captions if has_words else ())
    texts_ne = text_inputs(words, pairs.captions, pairs.caption_ne)
    mean_e = texts_ne.mean(axis=0)
    picture_map, text_map = align((mean_nd - mean_d) / scale_d, texts_ne - mean_e)
    return Alignment(
        mean_d=mean_d, scale_d=scale_d, picture_map=picture_map, mean_e=mean_e, text_map=text_map, words=words
    )
