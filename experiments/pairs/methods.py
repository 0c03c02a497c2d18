"""Methods to learn which caption belongs to which picture, on frozen towers. A new one is an entry of `METHODS`."""

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
"""A word must be in at least two texts to link any two, and in at most half of them to distinguish them."""
RIDGE = 1.0
"""Regularisation: added to each variance, in units of the mean variance."""
MIN_DEVIATION = 1e-3
"""Added to standard deviations, so that a constant feature is not divided by zero."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Matcher:
    """A trained method. Both functions return features (n, k) of length 1, whose product is the score of a match.

    `embed_pictures` takes features (n, v, d) of views, `embed_texts` takes texts and their features (n, e).
    """

    embed_pictures: Callable[[Floats], Floats]
    embed_texts: Callable[[Sequence[str], Floats], Floats]


Method = Callable[[Pairs, TrainSettings], Matcher]


def count_words(text: str) -> Counter[str]:
    """Count the words of three or more letters in a text, in lower case.

    Parameters
    ----------
    text
        Any text.

    Returns
    -------
    Counter[str]
        Counts by word.

    """
    return Counter(WORD.findall(text.lower()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """The words of a corpus with their weights.

    Notes
    -----
    Inverse document frequency, log(texts / texts with the word) (Sparck Jones 1972).

    """

    weights: dict[str, float]

    def features(self, texts: Sequence[str]) -> Floats:
        """Compute weighted log counts of words.

        Parameters
        ----------
        texts
            n texts.

        Returns
        -------
        Floats
            Features (n, words) of length 1; zeros for a text without a known word.

        """
        column_of = {word: column for column, word in enumerate(self.weights)}
        counts_nw = np.zeros((len(texts), len(column_of)), np.float32)
        for row, text in enumerate(texts):
            for word, count in count_words(text).items():
                if word in column_of:
                    # the logarithm: a repeated word adds little
                    counts_nw[row, column_of[word]] = np.log1p(count) * self.weights[word]
        return unit(counts_nw)


def fit_words(texts: Sequence[str]) -> Words:
    """Choose the words that distinguish texts, and compute their weights.

    Parameters
    ----------
    texts
        Captions of the training part.

    Returns
    -------
    Words
        Words in alphabetical order.

    """
    num_texts = Counter(word for text in texts for word in count_words(text))  # document frequency
    words = sorted(word for word, num in num_texts.items() if MIN_TEXTS <= num <= MAX_TEXT_SHARE * len(texts))
    return Words(weights={word: float(np.log(len(texts) / num_texts[word])) for word in words})


def align(one_nd: Floats, other_ne: Floats, ridge: float = RIDGE) -> tuple[Floats, Floats]:
    """Regularised canonical correlation analysis.

    Parameters
    ----------
    one_nd
        Centred features (n, d) of one side.
    other_ne
        Centred features (n, e) of the other side.
    ridge
        Added to each variance, in units of the mean variance.

    Returns
    -------
    tuple[Floats, Floats]
        Maps (d, k) and (e, k) into a common space, each direction weighted by its canonical correlation.

    Notes
    -----
    Canonical ridge (Vinod 1976).

    """
    (one_nr, from_one), (other_ns, from_other) = _whitened(one_nd, ridge), _whitened(other_ne, ridge)
    # singular values of the cross-covariance of whitened features are the canonical correlations
    left, correlation_k, right = np.linalg.svd(one_nr.T @ other_ns, full_matrices=False)
    return from_one @ (left * correlation_k), from_other @ (right.T * correlation_k)


def _whitened(centred_nd: Floats, ridge: float) -> tuple[Floats, Floats]:
    """Features (n, r) of about unit variance, divided by the root of n, and the map (d, r) to them."""
    left_nr, singular_r, right_rd = np.linalg.svd(centred_nd, full_matrices=False)
    variance_r = singular_r**2 / len(centred_nd)
    scale_r = np.sqrt(variance_r + ridge * variance_r.mean())
    return left_nr * np.sqrt(variance_r) / scale_r, right_rd.T / scale_r


def _aligned(pairs: Pairs, settings: TrainSettings, *, is_final_only: bool = False, has_words: bool = True) -> Matcher:
    """Canonical correlations of the image tower's features, at all depths, with features and words of the caption.

    Closed form: needs no gradient steps.
    """
    width = pairs.final_width
    words = fit_words(pairs.captions if has_words else ())

    def picture_parts(views_nvd: Floats) -> list[Floats]:
        mean_nd = views_nvd.mean(axis=1)
        # final features (mean and maximum over the field), then those of the earlier stages, see `Pairs`
        return [mean_nd[:, :width]] if is_final_only else [mean_nd[:, : 2 * width], mean_nd[:, 2 * width :]]

    def text_inputs(texts: Sequence[str], features_ne: Floats) -> Floats:
        return np.concatenate([features_ne, words.features(texts)], axis=1)

    moments = [(part.mean(axis=0), part.std(axis=0) + MIN_DEVIATION) for part in picture_parts(pairs.views_nvd)]

    def picture_inputs(views_nvd: Floats) -> Floats:
        # divided by the root of its width, so that each part counts alike
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
    """The aligned method trained on captions of other groups: its score is chance."""
    groups, group_index_n = np.unique(pairs.group_n, return_inverse=True)
    first_g = np.unique(group_index_n, return_index=True)[1]  # a picture of each group
    wrong = pairs.take(first_g[derangement(len(groups), settings.seed)][group_index_n])
    return _aligned(replace(pairs, captions=wrong.captions, caption_ne=wrong.caption_ne), settings)


def _linear(pairs: Pairs, settings: TrainSettings) -> Matcher:
    """Linear heads on the towers' final features, trained by gradient steps."""
    final_nvd = pairs.views_nvd[..., : pairs.final_width]
    # images per feature, texts by one deviation: text features have length 1, so their dimensions share a scale
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
    """Linear heads on the inputs of `aligned`: separates the value of the inputs from that of the method."""
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
    """The towers before training: a random projection of the image tower against the sentence encoder."""
    shape = pairs.final_width, pairs.caption_ne.shape[1]
    projection_de = np.random.default_rng(settings.seed).normal(size=shape).astype(np.float32)
    return Matcher(
        embed_pictures=lambda views_nvd: unit(views_nvd[..., : pairs.final_width].mean(axis=1) @ projection_de),
        embed_texts=lambda texts, features_ne: unit(features_ne),
    )


def _aligned_final(pairs: Pairs, settings: TrainSettings) -> Matcher:
    """Ablation: final features only, without words."""
    return _aligned(pairs, settings, is_final_only=True, has_words=False)


def _aligned_depths(pairs: Pairs, settings: TrainSettings) -> Matcher:
    """Ablation: features at all depths, without words."""
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
"""Ours first, then its baselines, then its ablations."""
