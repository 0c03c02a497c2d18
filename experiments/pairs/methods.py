"""Methods that learn to match captions to pictures from the features of frozen towers.

A new method is added as an entry of `METHODS`, and of `SEEDED` if its result depends on the seed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F

from experiments.pairs.alignment import MIN_DEVIATION, fit_alignment, fit_words
from experiments.pairs.frozen_features import Floats, Pairs
from experiments.pairs.linear_heads import train_heads
from hubbleclip.config.settings import TrainSettings
from hubbleclip.core.vectors import unit
from hubbleclip.dataset.sampler import derangement


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


def _aligned(pairs: Pairs, settings: TrainSettings, *, is_final_only: bool = False, has_words: bool = True) -> Matcher:
    """Align picture features with caption features by canonical correlation analysis; see `fit_alignment`."""
    alignment = fit_alignment(pairs, is_final_only=is_final_only, has_words=has_words)
    return Matcher(embed_pictures=alignment.embed_pictures, embed_texts=alignment.embed_texts)


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
            pairs,
            views_nvd=scale_pictures(pairs.views_nvd),
            caption_ne=scale_texts(pairs.caption_ne),
            title_ne=scale_texts(pairs.title_ne),
            sentences_pe=tuple(map(scale_texts, pairs.sentences_pe)),
        ),
        settings,
    )

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


def _combined(pairs: Pairs, settings: TrainSettings) -> Matcher:
    """Add the cosine similarities of `aligned` and of the linear heads on the same inputs."""
    both = _aligned(pairs, settings), _linear_on_all(pairs, settings)

    def join(features: Iterable[Floats]) -> Floats:
        return unit(np.concatenate(list(features), axis=1))  # each has length 1, so that both count the same

    return Matcher(
        embed_pictures=lambda views_nvd: join(one.embed_pictures(views_nvd) for one in both),
        embed_texts=lambda texts, features_ne: join(one.embed_texts(texts, features_ne) for one in both),
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
    "aligned and linear": _combined,
    "linear": _linear,
    "linear, all inputs": _linear_on_all,
    "untrained": _untrained,
    "shuffled": _shuffled,
    "aligned, no words": _aligned_depths,
    "aligned, final features alone": _aligned_final,
}
"""The methods by name: our method `aligned` first, then its baselines, then its ablations."""
SEEDED = frozenset({"aligned and linear", "linear", "linear, all inputs", "untrained", "shuffled"})
"""Methods whose result depends on a seed. The others have a closed form: the same pictures give the same result."""
