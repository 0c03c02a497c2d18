"""Compare the features of an exported model with those of the original model, on a few inputs."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from hubbleclip.core.errors import TrainingError
from hubbleclip.training.models.builder import LoadedModel

TOLERANCE = 1e-4
"""Largest accepted difference between a value of a feature and its exported value; features have length 1."""
TEXTS = ("a spiral galaxy", "We propose to observe the nucleus of a comet, before and after its perihelion.", "")


def probe_inputs(loaded: LoadedModel) -> tuple[Tensor, Tensor]:
    """Make normalised images (3, 3, size, size) and tokens (3, l) of texts of different lengths."""
    draw = torch.Generator().manual_seed(0)
    size = loaded.image_size
    tiles = torch.randint(0, 256, (len(TEXTS), 1, size, size), generator=draw, dtype=torch.uint8)
    return loaded.normalise(tiles), loaded.tokenizer(list(TEXTS))


def require_equal(
    name: str, loaded: LoadedModel, encode_images: Callable[[Tensor], Tensor], encode_texts: Callable[[Tensor], Tensor]
) -> None:
    """Raise TrainingError if a feature of an exported model differs from the original by more than `TOLERANCE`."""
    images_bchw, tokens_bl = probe_inputs(loaded)
    with torch.inference_mode():
        pairs = {
            "image": (loaded.model.encode_image(images_bchw), encode_images(images_bchw)),
            "text": (loaded.model.encode_text(tokens_bl), encode_texts(tokens_bl)),
        }
    for tower, (ours_bd, theirs_bd) in pairs.items():
        difference = float((F.normalize(ours_bd, dim=-1) - F.normalize(theirs_bd, dim=-1)).abs().max())
        if not difference <= TOLERANCE:
            raise TrainingError(
                f"the {tower} features of the {name} model differ by {difference:.1e}, more than {TOLERANCE:.0e}: "
                f"export without {name}"
            )
