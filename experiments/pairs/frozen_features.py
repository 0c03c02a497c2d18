"""What frozen towers make of pictures and their captions, once, for heads that are trained on it again and again."""

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
"""Last stages of the image tower whose features count, besides its final ones."""
TEXTS_AT_ONCE = 32

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pairs:
    """Pictures with captions (n) as frozen towers see them.

    `views_nvd` has each view's final features, the mean over the field, first `final_width` columns, then their
    maximum, then mean and maximum of the stages before. `pieces` are the features (p, e) of a caption's `sentences`,
    `title_ne` of its title. `group_n` numbers the proposal groups.
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
    pieces: tuple[Floats, ...]

    def take(self, rows: Ints) -> Pairs:
        """Some of them."""
        return Pairs(
            names=tuple(self.names[row] for row in rows), captions=tuple(self.captions[row] for row in rows),
            titles=tuple(self.titles[row] for row in rows), sentences=tuple(self.sentences[row] for row in rows),
            pieces=tuple(self.pieces[row] for row in rows),
            group_n=self.group_n[rows], views_nvd=self.views_nvd[rows], final_width=self.final_width,
            caption_ne=self.caption_ne[rows], title_ne=self.title_ne[rows],
        )  # fmt: skip


@torch.inference_mode()
def picture_features(loaded: LoadedModel, pictures: Iterable[npt.NDArray[np.uint8]], *, is_bf16: bool) -> Floats:
    """Features (n, v, d) of pictures (h, w, 3), see `Pairs`."""
    trunk = loaded.model.visual.trunk.eval().to(torch.bfloat16 if is_bf16 else torch.float32)
    return np.stack([_of_views(trunk, loaded, square_views(one, loaded.image_size)) for one in pictures])


def _of_views(trunk: Any, loaded: LoadedModel, views_vyxc: npt.NDArray[np.uint8]) -> Floats:
    seen: list[Tensor] = []
    with ExitStack() as hooks:
        for stage in list(trunk.blocks)[-NUM_STAGES:]:
            hooks.enter_context(stage.register_forward_hook(lambda _, __, output: seen.append(output)))
        levels = loaded.normalise(torch.from_numpy(views_vyxc).permute(0, 3, 1, 2))
        first = next(trunk.parameters())
        final = trunk.forward_features(levels.to(first.dtype).contiguous(memory_format=torch.channels_last))
    parts = [part for maps in (final, *seen) for part in (maps.mean((2, 3)), maps.amax((2, 3)))]
    features: Floats = torch.cat(parts, dim=1).float().cpu().numpy()
    return features


def text_features(loaded: LoadedModel, texts: Sequence[str]) -> Floats:
    """Features (n, e) of length 1 of texts, each cut at the model's context; those of like length go together."""
    order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
    parts = [
        loaded.encode_texts([texts[index] for index in order[start : start + TEXTS_AT_ONCE]])
        for start in range(0, len(order), TEXTS_AT_ONCE)
    ]
    features: Floats = torch.cat(parts)[np.argsort(order)].numpy()
    return features


def sentence_features(loaded: LoadedModel, sentences: Sequence[Sequence[str]]) -> tuple[Floats, ...]:
    """Features (p, e) of each text's sentences."""
    flat = text_features(loaded, [sentence for of_text in sentences for sentence in of_text])
    return tuple(np.split(flat, np.cumsum([len(of_text) for of_text in sentences])[:-1]))
