"""Methods that learn to match captions to pictures from the features of frozen towers.

A new method is added as an entry of `METHODS`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F

from experiments.pairs.frozen_features import Floats, Pairs
from experiments.pairs.linear_heads import train_heads
from hubbleclip.config.settings import TrainSettings
from hubbleclip.core.vectors import unit
from hubbleclip.dataset.sampler import derangement

WORD = re.compile(r"[a-z]{3,}")
MIN_TEXTS, MAX_TEXT_SHARE = 2, 0.5
"""Limits for the number of texts that contain a word: a minimum number, and a maximum share of all texts.

A word in fewer than two texts cannot link texts, and a word in more than half of the texts does not distinguish them.
"""
RIDGE = 1.0
"""Strength of the regularisation: this multiple of the mean variance is added to each variance."""
MIN_DEVIATION = 1e-3
"""Value added to each standard deviation, so that a constant feature does not cause a division by zero."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Matcher:
    """A trained method, as two functions that compute features of pictures and of texts.

    `embed_pictures` takes the features of the views, shape (n, v, d). `embed_texts` takes n texts and their features,
    shape (n, e). Both return features of shape (n, k) and length 1. The score of a picture and a text is the dot
    product of their features.
    """

    embed_pictures: Callable[[Floats], Floats]
    embed_texts: Callable[[Sequence[str], Floats], Floats]


Method = Callable[[Pairs, TrainSettings], Matcher]


def count_words(text: str) -> Counter[str]:
    """Count the words in a text that have at least three letters.

    Parameters
    ----------
    text
        Any text.

    Returns
    -------
    Counter[str]
        Number of occurrences by word; the words are in lower case.

    """
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
        """Compute the weighted logarithmic counts of the words in texts.

        Parameters
        ----------
        texts
            n texts.

        Returns
        -------
        Floats
            Features, shape (n, number of words), of length 1. The features of a text without any known word are zeros.

        """
        column_of = {word: column for column, word in enumerate(self.weights)}
        counts_nw = np.zeros((len(texts), len(column_of)), np.float32)
        for row, text in enumerate(texts):
            for word, count in count_words(text).items():
                if word in column_of:
                    # the logarithm reduces the effect of repeated words
                    counts_nw[row, column_of[word]] = np.log1p(count) * self.weights[word]
        return unit(counts_nw)


def fit_words(texts: Sequence[str]) -> Words:
    """Choose the words that are used as text features, and compute their weights.

    Parameters
    ----------
    texts
        Captions of the training pictures.

    Returns
    -------
    Words
        The words in alphabetical order, with their weights.

    """
    num_texts = Counter(word for text in texts for word in count_words(text))  # number of texts that contain each word
    words = sorted(word for word, num in num_texts.items() if MIN_TEXTS <= num <= MAX_TEXT_SHARE * len(texts))
    return Words(weights={word: float(np.log(len(texts) / num_texts[word])) for word in words})


def align(one_nd: Floats, other_ne: Floats, ridge: float = RIDGE) -> tuple[Floats, Floats]:
    """Compute a regularised canonical correlation analysis of two sets of features.

    Parameters
    ----------
    one_nd
        Features of the first set, shape (n, d), with mean 0 per column.
    other_ne
        Features of the second set, shape (n, e), with mean 0 per column.
    ridge
        Strength of the regularisation: this multiple of the mean variance is added to each variance.

    Returns
    -------
    tuple[Floats, Floats]
        Projections of both sets into a common space, shapes (d, k) and (e, k). Each dimension of the space is weighted
        by its canonical correlation.

    Notes
    -----
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


def _aligned(pairs: Pairs, settings: TrainSettings, *, is_final_only: bool = False, has_words: bool = True) -> Matcher:
    """Align picture features with caption features by canonical correlation analysis.

    The picture features are those of the last stages of the image tower. The caption features are those of the text
    tower, and weighted counts of words. The solution has a closed form, so that no gradient descent is needed.
    """
    width = pairs.final_width
    words = fit_words(pairs.captions if has_words else ())

    def picture_parts(views_nvd: Floats) -> list[Floats]:
        mean_nd = views_nvd.mean(axis=1)
        # first the final features (mean and maximum), then the features of the earlier stages (see `Pairs`)
        return [mean_nd[:, :width]] if is_final_only else [mean_nd[:, : 2 * width], mean_nd[:, 2 * width :]]

    def text_inputs(texts: Sequence[str], features_ne: Floats) -> Floats:
        return np.concatenate([features_ne, words.features(texts)], axis=1)

    moments = [(part.mean(axis=0), part.std(axis=0) + MIN_DEVIATION) for part in picture_parts(pairs.views_nvd)]

    def picture_inputs(views_nvd: Floats) -> Floats:
        # each part is divided by the square root of its width, so that all parts have the same weight
        parts = zip(picture_parts(views_nvd), moments, strict=True)
        return np.concatenate([(part - mean) / dev / np.sqrt(len(mean)) for part, (mean, dev) in parts], axis=1)

    texts_ne = text_inputs(pairs.captions, pairs.caption_ne)
    mean_e = texts_ne.mean(axis=0)
    picture_map, text_map = align(picture_inputs(pairs.views_nvd), texts_ne - mean_e)
    return Matcher(
        embed_pictures=lambda views_nvd: unit(picture_inputs(views_nvd) @ picture_map),
        embed_texts=lambda texts, features_ne: unit((text_inputs(texts, features_ne) - mean_e) @ text_map),
    )


def _shuffled(pairs: Pairs, settings: TrainSettings) -> Matcher:
    """Train the method `aligned` with captions of other groups; its scores should be those of chance."""
    groups, group_index_n = np.unique(pairs.group_n, return_inverse=True)
    first_g = np.unique(group_index_n, return_index=True)[1]  # the first picture of each group
    wrong = pairs.take(first_g[derangement(len(groups), settings.seed)][group_index_n])
    return _aligned(replace(pairs, captions=wrong.captions, caption_ne=wrong.caption_ne), settings)


def _linear(pairs: Pairs, settings: TrainSettings) -> Matcher:
    """Train linear heads on the final features of the towers by gradient descent."""
    final_nvd = pairs.views_nvd[..., : pairs.final_width]
    # picture features are scaled column by column; all columns of the text features share one scale
    mean_d, dev_d = final_nvd.mean(axis=(0, 1)), final_nvd.std(axis=(0, 1)) + MIN_DEVIATION
    mean_e, dev = pairs.caption_ne.mean(axis=0), pairs.caption_ne.std()

    def scale_pictures(views_nvd: Floats) -> Floats:
        scaled_nvd: Floats = (views_nvd[..., : pairs.final_width] - mean_d) / dev_d
        return scaled_nvd

    def scale_texts(features_ne: Floats) -> Floats:
        scaled_ne: Floats = (features_ne - mean_e) / dev
        return scaled_ne

    heads = train_heads(
        replace(
            pairs, views_nvd=scale_pictures(pairs.views_nvd), caption_ne=scale_texts(pairs.caption_ne),
            title_ne=scale_texts(pairs.title_ne), sentences_pe=tuple(map(scale_texts, pairs.sentences_pe)),
        ),
        settings,
    )  # fmt: skip

    @torch.inference_mode()
    def embed_pictures(views_nvd: Floats) -> Floats:
        return unit(
            F.normalize(heads.image_head(torch.from_numpy(scale_pictures(views_nvd))), dim=-1).mean(dim=1).numpy()
        )

    @torch.inference_mode()
    def embed_texts(texts: Sequence[str], features_ne: Floats) -> Floats:
        return unit(heads.text_head(torch.from_numpy(scale_texts(features_ne))).numpy())

    return Matcher(embed_pictures=embed_pictures, embed_texts=embed_texts)


def _linear_on_all(pairs: Pairs, settings: TrainSettings) -> Matcher:
    """Train linear heads on the inputs of `aligned`, to compare the two methods on the same inputs."""
    words = fit_words(pairs.captions)

    def with_words(texts: Sequence[str], features_ne: Floats) -> Floats:
        return np.concatenate([features_ne, words.features(texts)], axis=1)

    all_inputs = replace(
        pairs,
        final_width=pairs.views_nvd.shape[-1],
        caption_ne=with_words(pairs.captions, pairs.caption_ne),
        title_ne=with_words(pairs.titles, pairs.title_ne),
        sentences_pe=tuple(with_words(*part) for part in zip(pairs.sentences, pairs.sentences_pe, strict=True)),
    )
    heads = _linear(all_inputs, settings)
    return Matcher(
        embed_pictures=heads.embed_pictures,
        embed_texts=lambda texts, features_ne: heads.embed_texts(texts, with_words(texts, features_ne)),
    )


def _untrained(pairs: Pairs, settings: TrainSettings) -> Matcher:
    """Use the towers without training: the image features are projected at random to the width of the text features."""
    shape = pairs.final_width, pairs.caption_ne.shape[1]
    projection_de = np.random.default_rng(settings.seed).normal(size=shape).astype(np.float32)
    return Matcher(
        embed_pictures=lambda views_nvd: unit(views_nvd[..., : pairs.final_width].mean(axis=1) @ projection_de),
        embed_texts=lambda texts, features_ne: unit(features_ne),
    )


def _aligned_final(pairs: Pairs, settings: TrainSettings) -> Matcher:
    """Train `aligned` on the final features only and without words, as an ablation."""
    return _aligned(pairs, settings, is_final_only=True, has_words=False)


def _aligned_depths(pairs: Pairs, settings: TrainSettings) -> Matcher:
    """Train `aligned` on the same picture features but without words, as an ablation."""
    return _aligned(pairs, settings, has_words=False)


METHODS: dict[str, Method] = {
    "aligned": _aligned,
    "linear": _linear,
    "linear, all inputs": _linear_on_all,
    "untrained": _untrained,
    "shuffled": _shuffled,
    "aligned, no words": _aligned_depths,
    "aligned, final features alone": _aligned_final,
}
"""The methods by name: our method `aligned` first, then its baselines, then its ablations."""
