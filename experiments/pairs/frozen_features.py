"""Features of pictures and captions by frozen towers, computed once and used by all methods."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from experiments.pairs.crops import square_views
from hubbleclip.training.models.builder import LoadedModel

NUM_STAGES = 4
"""Number of last stages of the image tower whose features are used besides its final ones."""
TEXT_BATCH = 32
"""Texts that are encoded at once."""

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pairs:
    """n pictures with captions, as features of frozen towers.

    `views_nvd` has for each view the final features, averaged over the field (the first `final_width` columns), then
    their maximum over the field, then mean and maximum of the earlier stages. `caption_ne` and `title_ne` are text
    features, `sentences_pe` those of the sentences of each caption, and `group_n` numbers the proposal groups.
    """

    names: tuple[str, ...]
    captions: tuple[str, ...]
    titles: tuple[str, ...]
    sentences: tuple[tuple[str, ...], ...]
    group_n: Ints
    views_nvd: Floats
    final_width: int
    caption_ne: Floats
    title_ne: Floats
    sentences_pe: tuple[Floats, ...]

    def take(self, rows: Ints) -> Pairs:
        """Select pictures.

        Parameters
        ----------
        rows
            Row numbers.

        Returns
        -------
        Pairs
            The selected pictures, in the order of `rows`.

        """
        return Pairs(
            names=tuple(self.names[row] for row in rows), captions=tuple(self.captions[row] for row in rows),
            titles=tuple(self.titles[row] for row in rows), sentences=tuple(self.sentences[row] for row in rows),
            sentences_pe=tuple(self.sentences_pe[row] for row in rows),
            group_n=self.group_n[rows], views_nvd=self.views_nvd[rows], final_width=self.final_width,
            caption_ne=self.caption_ne[rows], title_ne=self.title_ne[rows],
        )  # fmt: skip


@torch.inference_mode()
def picture_features(loaded: LoadedModel, pictures: Iterable[npt.NDArray[np.uint8]], *, is_bf16: bool) -> Floats:
    """Compute features of pictures, from several square views of each.

    Parameters
    ----------
    loaded
        A model whose image tower is timm's.
    pictures
        n pictures (h, w, 3), uint8.
    is_bf16
        Whether the tower computes in bfloat16.

    Returns
    -------
    Floats
        Features (n, v, d), see `Pairs.views_nvd`.

    """
    trunk = loaded.model.visual.trunk.eval().to(torch.bfloat16 if is_bf16 else torch.float32)
    return np.stack([_of_views(trunk, loaded, square_views(one, loaded.image_size)) for one in pictures])


def _of_views(trunk: Any, loaded: LoadedModel, views_vyxc: npt.NDArray[np.uint8]) -> Floats:
    """Features (v, d) of the views of one picture."""
    stage_maps: list[Tensor] = []  # (v, c, h, w) per stage, filled by the hooks
    with ExitStack() as hooks:
        for stage in list(trunk.blocks)[-NUM_STAGES:]:
            hooks.enter_context(stage.register_forward_hook(lambda _, __, output: stage_maps.append(output)))
        levels = loaded.normalise(torch.from_numpy(views_vyxc).permute(0, 3, 1, 2))
        first = next(trunk.parameters())
        final = trunk.forward_features(levels.to(first.dtype).contiguous(memory_format=torch.channels_last))
    parts = [part for maps in (final, *stage_maps) for part in (maps.mean((2, 3)), maps.amax((2, 3)))]
    features: Floats = torch.cat(parts, dim=1).float().cpu().numpy()
    return features


def text_features(loaded: LoadedModel, texts: Sequence[str]) -> Floats:
    """Compute features of texts.

    Parameters
    ----------
    loaded
        A model; texts are truncated at its context length.
    texts
        n texts.

    Returns
    -------
    Floats
        Features (n, e) of length 1.

    """
    # texts of similar length go together, so that little padding is encoded
    order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
    parts = [
        loaded.encode_texts([texts[index] for index in order[start : start + TEXT_BATCH]])
        for start in range(0, len(order), TEXT_BATCH)
    ]
    features: Floats = torch.cat(parts)[np.argsort(order)].numpy()  # argsort of a permutation is its inverse
    return features


def sentence_features(loaded: LoadedModel, sentences: Sequence[Sequence[str]]) -> tuple[Floats, ...]:
    """Compute features of the sentences of each text.

    Parameters
    ----------
    loaded
        A model; sentences are truncated at its context length.
    sentences
        Sentences of n texts.

    Returns
    -------
    tuple[Floats, ...]
        n arrays (p, e), one row per sentence.

    """
    flat = text_features(loaded, [sentence for of_text in sentences for sentence in of_text])
    return tuple(np.split(flat, np.cumsum([len(of_text) for of_text in sentences])[:-1]))
