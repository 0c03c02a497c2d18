"""Stretch the context of a CLIP text tower, so that it reads texts of more than 77 tokens."""

from __future__ import annotations

from typing import Any

import open_clip
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hubbleclip.core.errors import TrainingError

KEPT_POSITIONS = 20
"""Positions that keep their embeddings; the later ones are hardly trained, because most captions are short."""


def stretch_positions(embedding_ld: Tensor, length: int) -> Tensor:
    """Interpolate positional embeddings to a longer context; the first 20 are kept.

    Knowledge-preserved stretching of Long-CLIP (arXiv 2403.15378, section 3.1).
    """
    kept_kd, rest_rd = embedding_ld[:KEPT_POSITIONS], embedding_ld[KEPT_POSITIONS:]
    stretched_1ds = F.interpolate(rest_rd.T[None], size=length - KEPT_POSITIONS, mode="linear", align_corners=True)
    return torch.cat([kept_kd, stretched_1ds[0].T])


def stretch_context(model: Any, length: int) -> None:
    """Give a model a longer text context, in place."""
    if type(model) is not open_clip.CLIP:
        raise TrainingError("model.context_length stretches CLIP text towers only: leave it 0 for this model")
    if length < model.context_length:
        raise TrainingError(
            f"model.context_length = {length} is less than the model's {model.context_length}: raise it"
        )
    with torch.no_grad():
        model.positional_embedding = nn.Parameter(stretch_positions(model.positional_embedding, length))
    if model.attn_mask is not None:
        model.attn_mask = torch.full((length, length), float("-inf")).triu_(1)  # each token attends to earlier ones
    model.context_length = length
