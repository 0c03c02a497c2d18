"""Ways to learn which caption belongs to which picture, on frozen towers. A new one is an entry of `ARMS`."""

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
LEAST_TEXTS, LARGEST_SHARE = 2, 0.5
"""Words of fewer texts tell nothing of others; those of a larger share of the texts tell nothing at all."""
RIDGE = 1.0
"""Added to each variance, in units of their mean."""
STILL = 1e-3
"""Added to deviations, so that a feature that never varies stays small."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Matcher:
    """What was learnt. Both give features (n, k) of length 1, whose product says how well they match.

    `pictures` takes views (n, v, d), `texts` texts and their features (n, e).
    """

    pictures: Callable[[Floats], Floats]
    texts: Callable[[Sequence[str], Floats], Floats]


Arm = Callable[[Pairs, TrainSettings], Matcher]


def count_words(text: str) -> Counter[str]:
    """How often each word of three letters or more stands in a text."""
    return Counter(WORD.findall(text.lower()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """Words of a corpus with their weights, log(texts / texts with the word) (Sparck Jones 1972)."""

    weights: dict[str, float]

    def features(self, texts: Sequence[str]) -> Floats:
        """Weighted log counts (n, words) of texts, of length 1; no known word gives zeros."""
        place = {word: column for column, word in enumerate(self.weights)}
        counts_nw = np.zeros((len(texts), len(place)), np.float32)
        for row, text in enumerate(texts):
            for word, count in count_words(text).items():
                if word in place:
                    counts_nw[row, place[word]] = np.log1p(count) * self.weights[word]
        return unit(counts_nw)


def learn_words(texts: Sequence[str]) -> Words:
    """The words that tell these texts apart."""
    found = Counter(word for text in texts for word in count_words(text))
    kept = sorted(word for word, num in found.items() if LEAST_TEXTS <= num <= LARGEST_SHARE * len(texts))
    return Words(weights={word: float(np.log(len(texts) / found[word])) for word in kept})


def align(one_nd: Floats, other_ne: Floats, ridge: float = RIDGE) -> tuple[Floats, Floats]:
    """Maps (d, k) and (e, k) of centred features into a space where those of a pair are near: canonical correlations
    with a ridge (Vinod 1976), each direction weighted by its correlation.
    """
    (one_nr, from_one), (other_ns, from_other) = _whitened(one_nd, ridge), _whitened(other_ne, ridge)
    left, correlation_k, right = np.linalg.svd(one_nr.T @ other_ns, full_matrices=False)
    return from_one @ (left * correlation_k), from_other @ (right.T * correlation_k)


def _whitened(centred_nd: Floats, ridge: float) -> tuple[Floats, Floats]:
    """Features (n, r) of about equal variance, shared by 1 / n, and the map (d, r) to them."""
    left_nr, singular_r, right_rd = np.linalg.svd(centred_nd, full_matrices=False)
    variance_r = singular_r**2 / len(centred_nd)
    scale_r = np.sqrt(variance_r + ridge * variance_r.mean())
    return left_nr * np.sqrt(variance_r) / scale_r, right_rd.T / scale_r


def _aligned(pairs: Pairs, settings: TrainSettings, *, is_final_only: bool = False, has_words: bool = True) -> Matcher:
    """Canonical correlations of the image tower's features, at all depths, with the sentence encoder's features and
    the caption's words, in closed form.
    """
    width = pairs.final_width
    words = learn_words(pairs.captions if has_words else ())

    def picture_parts(views_nvd: Floats) -> list[Floats]:
        seen_nd = views_nvd.mean(axis=1)
        return [seen_nd[:, :width]] if is_final_only else [seen_nd[:, : 2 * width], seen_nd[:, 2 * width :]]

    def of_texts(texts: Sequence[str], features_ne: Floats) -> Floats:
        return np.concatenate([features_ne, words.features(texts)], axis=1)

    moments = [(part.mean(axis=0), part.std(axis=0) + STILL) for part in picture_parts(pairs.views_nvd)]

    def of_pictures(views_nvd: Floats) -> Floats:
        parts = zip(picture_parts(views_nvd), moments, strict=True)
        return np.concatenate([(part - mean) / dev / np.sqrt(len(mean)) for part, (mean, dev) in parts], axis=1)

    texts_ne = of_texts(pairs.captions, pairs.caption_ne)
    mean_e = texts_ne.mean(axis=0)
    picture_map, text_map = align(of_pictures(pairs.views_nvd), texts_ne - mean_e)
    return Matcher(
        pictures=lambda views_nvd: unit(of_pictures(views_nvd) @ picture_map),
        texts=lambda texts, features_ne: unit((of_texts(texts, features_ne) - mean_e) @ text_map),
    )


def _shuffled(pairs: Pairs, settings: TrainSettings) -> Matcher:
    """The same on pictures with captions of other groups: what it finds is chance."""
    groups, of_n = np.unique(pairs.group_n, return_inverse=True)
    first_g = np.unique(of_n, return_index=True)[1]
    wrong_n = first_g[derangement(len(groups), settings.seed)][of_n]
    wrong = pairs.take(wrong_n)
    return _aligned(replace(pairs, captions=wrong.captions, caption_ne=wrong.caption_ne), settings)


def _linear(pairs: Pairs, settings: TrainSettings) -> Matcher:
    """Linear heads on the towers' final features by gradient steps."""
    final_nvd = pairs.views_nvd[..., : pairs.final_width]
    mean_d, dev_d = final_nvd.mean(axis=(0, 1)), final_nvd.std(axis=(0, 1)) + STILL
    mean_e, dev = pairs.caption_ne.mean(axis=0), pairs.caption_ne.std()

    def seen(views_nvd: Floats) -> Floats:
        scaled_nvd: Floats = (views_nvd[..., : pairs.final_width] - mean_d) / dev_d
        return scaled_nvd

    def said(features_ne: Floats) -> Floats:
        scaled_ne: Floats = (features_ne - mean_e) / dev
        return scaled_ne

    heads = train_heads(
        replace(
            pairs, views_nvd=seen(pairs.views_nvd), caption_ne=said(pairs.caption_ne), title_ne=said(pairs.title_ne),
            pieces=tuple(map(said, pairs.pieces)),
        ),
        settings,
    )  # fmt: skip

    @torch.inference_mode()
    def of_pictures(views_nvd: Floats) -> Floats:
        return unit(F.normalize(heads.image_head(torch.from_numpy(seen(views_nvd))), dim=-1).mean(dim=1).numpy())

    @torch.inference_mode()
    def of_texts(texts: Sequence[str], features_ne: Floats) -> Floats:
        return unit(heads.text_head(torch.from_numpy(said(features_ne))).numpy())

    return Matcher(pictures=of_pictures, texts=of_texts)


def _linear_on_all(pairs: Pairs, settings: TrainSettings) -> Matcher:
    """Linear heads on the very inputs of `aligned`: tells what the inputs are worth from how they are learnt."""
    words = learn_words(pairs.captions)

    def joined(texts: Sequence[str], features_ne: Floats) -> Floats:
        return np.concatenate([features_ne, words.features(texts)], axis=1)

    seen = replace(
        pairs,
        final_width=pairs.views_nvd.shape[-1],
        caption_ne=joined(pairs.captions, pairs.caption_ne),
        title_ne=joined(pairs.titles, pairs.title_ne),
        pieces=tuple(joined(*part) for part in zip(pairs.sentences, pairs.pieces, strict=True)),
    )
    heads = _linear(seen, settings)
    return Matcher(
        pictures=heads.pictures, texts=lambda said, features_ne: heads.texts(said, joined(said, features_ne))
    )


def _untrained(pairs: Pairs, settings: TrainSettings) -> Matcher:
    """The towers as they start: a random projection of the image tower meets the sentence encoder."""
    shape = pairs.final_width, pairs.caption_ne.shape[1]
    projection_de = np.random.default_rng(settings.seed).normal(size=shape).astype(np.float32)
    return Matcher(
        pictures=lambda views_nvd: unit(views_nvd[..., : pairs.final_width].mean(axis=1) @ projection_de),
        texts=lambda texts, features_ne: unit(features_ne),
    )


def _aligned_final(pairs: Pairs, settings: TrainSettings) -> Matcher:
    return _aligned(pairs, settings, is_final_only=True, has_words=False)


def _aligned_depths(pairs: Pairs, settings: TrainSettings) -> Matcher:
    return _aligned(pairs, settings, has_words=False)


ARMS: dict[str, Arm] = {
    "aligned": _aligned,
    "linear": _linear,
    "linear, all inputs": _linear_on_all,
    "untrained": _untrained,
    "shuffled": _shuffled,
    "aligned, no words": _aligned_depths,
    "aligned, final features alone": _aligned_final,
}
"""Ours first, then its rivals, then ours with less."""
