"""Give a text tower a longer context, and encode short texts without padding."""

from __future__ import annotations

from typing import Any

import open_clip
import torch
import torch.nn.functional as F
from open_clip.hf_model import HFTextEncoder
from open_clip.transformer import TextTransformer, text_global_pool
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
    text = getattr(model, "text", model)
    is_causal = isinstance(text, open_clip.CLIP | TextTransformer) and text.attn_mask is not None
    if not is_causal:
        raise TrainingError(
            "model.context_length stretches causal text towers only, such as those of CLIP and PE: leave it 0 for this "
            "model, whose training texts are sentences that fit its context"
        )
    if length < model.context_length:
        raise TrainingError(
            f"model.context_length = {length} is less than the model's {model.context_length}: raise it"
        )
    with torch.no_grad():
        text.positional_embedding = nn.Parameter(stretch_positions(text.positional_embedding, length))
    text.attn_mask = torch.full((length, length), float("-inf")).triu_(1)  # each token attends to earlier ones
    text.context_length = model.context_length = length


def padding_id(model: Any) -> int | None:
    """Return the id of the padding token if removing padding does not change the features, else None.

    Padding does not change the features if it is masked, or if it follows the token at which a causal text tower pools.
    """
    text = getattr(model, "text", model)
    if isinstance(text, HFTextEncoder):
        return int(text.config.pad_token_id)
    is_trimmed = text is model and model.attn_mask is not None and model.text_pool_type in ("argmax", "eos")
    return 0 if is_trimmed else None


def encode_short_text(model: Any, text: Tensor, normalize: bool = False) -> Tensor:
    """Encode tokens (b, l) like open_clip's `CLIP.encode_text`, but with positions and mask cut to length l.

    open_clip's method accepts only texts that are padded to the context length; most captions fill a third of it.
    """
    dtype, length = model.transformer.get_cast_dtype(), text.shape[1]
    mask = None if model.attn_mask is None else model.attn_mask[:length, :length]
    x = model.token_embedding(text).to(dtype) + model.positional_embedding[:length].to(dtype)
    x = model.ln_final(model.transformer(x, attn_mask=mask))
    x = text_global_pool(x, text, model.text_pool_type, eos_token_id=model.text_eos_id)
    if isinstance(model.text_projection, nn.Linear):
        x = model.text_projection(x)
    elif model.text_projection is not None:
        x = x @ model.text_projection
    return F.normalize(x, dim=-1) if normalize else x
