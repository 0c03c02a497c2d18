"""Compute the features of pictures and captions by frozen towers.

The features are computed once and used by all methods.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from experiments.pairs.crops import square_views
from hubbleclip.training.models.builder import LoadedModel

NUM_STAGES = 4
"""Number of last stages of the image tower whose features are used in addition to the final features."""
TEXT_BATCH = 32
"""Number of texts that are encoded in one batch."""

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pairs:
    """Features of n pictures and of their texts, computed by frozen towers.

    `views_nvd` has the features of each view of each picture. Its first `final_width` columns are the mean of the final
    features over the image plane. The next `final_width` columns are the maximum of the final features. The remaining
    columns are the mean and the maximum of the features of the earlier stages. `caption_ne` and `title_ne` are the
    features of the captions and titles. `sentences_pe` has for each picture the features of the sentences of its
    caption. `group_n` has the number of the proposal group of each picture.
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
        """Select some of the pictures."""
        listed = ("names", "captions", "titles", "sentences", "sentences_pe")
        taken: dict[str, Any] = {name: tuple(getattr(self, name)[row] for row in rows) for name in listed}
        for name in ("group_n", "views_nvd", "caption_ne", "title_ne"):
            taken[name] = getattr(self, name)[rows]
        return replace(self, **taken)


def read_rgb(path: Path) -> npt.NDArray[np.uint8]:
    """Read a picture in colour, uint8 (h, w, 3), top row first."""
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


@torch.inference_mode()
def picture_features(loaded: LoadedModel, pictures: Iterable[npt.NDArray[np.uint8]], *, is_bf16: bool) -> Floats:
    """Compute the features of pictures, from several square views of each picture."""
    trunk = loaded.model.visual.trunk.eval().to(torch.bfloat16 if is_bf16 else torch.float32)
    return np.stack([_of_views(trunk, loaded, square_views(one, loaded.image_size)) for one in pictures])


def _of_views(trunk: Any, loaded: LoadedModel, views_vyxc: npt.NDArray[np.uint8]) -> Floats:
    """Compute the features of the views of one picture, shape (v, d)."""
    stage_maps: list[Tensor] = []  # one array (v, c, h, w) per stage, appended by the hooks
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
    """Compute the features of texts."""
    # texts are sorted by length, so that the texts of a batch need little padding
    order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
    parts = [
        loaded.encode_texts([texts[index] for index in order[start : start + TEXT_BATCH]])
        for start in range(0, len(order), TEXT_BATCH)
    ]
    # the argsort of a permutation is the inverse permutation, which restores the order of the texts
    features: Floats = torch.cat(parts)[np.argsort(order)].numpy()
    return features


def sentence_features(loaded: LoadedModel, sentences: Sequence[Sequence[str]]) -> tuple[Floats, ...]:
    """Compute the features of the sentences of each text."""
    flat = text_features(loaded, [sentence for of_text in sentences for sentence in of_text])
    return tuple(np.split(flat, np.cumsum([len(of_text) for of_text in sentences])[:-1]))
