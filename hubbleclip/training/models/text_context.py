"""Give a text tower a longer context, and encode short texts without padding."""

from __future__ import annotations

from collections.abc import Mapping
from types import MethodType
from typing import Any, cast

import torch
import torch.nn.functional as F
from open_clip.hf_model import HFTextEncoder
from open_clip.transformer import text_global_pool
from torch import Tensor, nn

from hubbleclip.core.errors import TrainingError

OWN_LENGTH = "own_context_length"
"""Configuration key for the context length before stretching, used by `encode_padded`; open_clip refuses this key."""
KEPT_POSITIONS = 20
"""Number of first positions that keep their embeddings; later positions are hardly trained, as captions are short."""


def stretch_positions(embedding_ld: Tensor, length: int) -> Tensor:
    """Interpolate positional embeddings (l, d) to a longer context; the first 20 embeddings are kept.

    Knowledge-preserved stretching of Long-CLIP (arXiv 2403.15378, section 3.1).
    """
    kept_kd, rest_rd = embedding_ld[:KEPT_POSITIONS], embedding_ld[KEPT_POSITIONS:]
    stretched_1ds = F.interpolate(rest_rd.T[None], size=length - KEPT_POSITIONS, mode="linear", align_corners=True)
    return torch.cat([kept_kd, stretched_1ds[0].T])


def insert_positions(embedding_ld: Tensor, length: int) -> Tensor:
    """Lengthen positional embeddings (l, d): insert interpolated embeddings before the last embedding.

    All old embeddings are kept. The new embeddings are interpolated from the old embeddings, without the last one and
    without the first 20 (or the first half, if it has fewer than 20).
    """
    old_ld = embedding_ld[min(KEPT_POSITIONS, len(embedding_ld) // 2) : -1]
    num = length - len(embedding_ld)
    new_1ds = F.interpolate(old_ld.T[None], size=max(num, 1), mode="linear", align_corners=True)
    return torch.cat([embedding_ld[:-1], new_1ds[0].T[:num], embedding_ld[-1:]])


def is_stretchable(config: Mapping[str, Any]) -> bool:
    """Test whether the text tower of an open_clip configuration can be given a longer context."""
    text = config["text_cfg"]
    return not text.get("hf_model_name") and bool(config.get("custom_text") or not text.get("no_causal_mask"))


def stretch_context(model: Any, length: int) -> None:
    """Give a model a longer text context, in place.

    With a causal mask, texts of at most `KEPT_POSITIONS` tokens keep their features. Without a causal mask, as in
    SigLIP 2, all texts that fit the old context keep their features, provided that `encode_padded` encodes the texts.
    """
    if length < model.context_length:
        raise TrainingError(
            f"model.context_length = {length} is less than the model's {model.context_length}: raise it"
        )
    text = getattr(model, "text", model)
    with torch.no_grad():
        stretch = insert_positions if text.attn_mask is None else stretch_positions
        text.positional_embedding = nn.Parameter(stretch(text.positional_embedding, length))
    if text.attn_mask is not None:
        text.attn_mask = torch.full((length, length), float("-inf")).triu_(1)  # no token attends to later ones
    text.context_length = model.context_length = length


def read_as_padded(model: Any, own_length: int, padding: int) -> None:
    """Make `encode_padded` the method `forward` of a stretched text tower that has no causal mask, in place."""
    if not 0 < own_length <= model.context_length:
        raise ValueError(f"{OWN_LENGTH} is {own_length}")
    model.text.own_length, model.text.padding = own_length, padding
    model.text.forward = MethodType(encode_padded, model.text)


def encode_padded(text: Any, tokens_bl: Tensor) -> Tensor:
    """Encode tokens by a stretched text tower, which was trained on texts that are padded to `own_length` tokens.

    A text of at most `own_length` tokens is padded to this length, so that its feature is the same as before the tower
    was stretched. A longer text is padded with one token. In both cases the last token gets the last positional
    embedding.
    """
    length = len(text.positional_embedding)
    missing = max(text.own_length - tokens_bl.shape[1], min(1, length - tokens_bl.shape[1]))
    tokens_bl = F.pad(tokens_bl, (0, missing), value=text.padding)
    place_l = torch.arange(tokens_bl.shape[1], device=tokens_bl.device)
    last_b1 = ((tokens_bl != text.padding) * place_l).amax(1, keepdim=True) + 1
    last_b1 = last_b1.clamp(text.own_length - 1, len(place_l) - 1)
    positions_bl = torch.where(place_l == last_b1, length - 1, place_l)
    x = text.token_embedding(tokens_bl) + text.positional_embedding[positions_bl]
    mask = None
    if len(place_l) > text.own_length:
        mask_bl = torch.zeros_like(x[..., 0]).masked_fill(place_l > last_b1, float("-inf"))
        mask = mask_bl[:, None].expand(-1, len(place_l), -1).repeat_interleave(text.heads, 0)
    x = text.ln_final(text.transformer(x, attn_mask=mask))
    if text.pool_type == "last":
        x = x.gather(1, last_b1[..., None].expand(-1, -1, x.shape[-1]))[:, 0]
    else:
        x = text_global_pool(x, tokens_bl, text.pool_type, eos_token_id=text.eos_id)
    return _projected(x, text.text_projection)


def _projected(x_bd: Tensor, projection: Any) -> Tensor:
    """Apply a projection, which is a linear layer, a matrix or None, to the output of a text tower."""
    if isinstance(projection, nn.Linear):
        return cast("Tensor", projection(x_bd))
    return x_bd if projection is None else x_bd @ projection


def padding_id(model: Any) -> int | None:
    """Return the id of the padding token if removing padding does not change the features, else None.

    Padding changes no feature if it is masked, or if it follows the token whose output a causal text tower returns.
    """
    text = getattr(model, "text", model)
    if isinstance(text, HFTextEncoder):
        return int(text.config.pad_token_id)
    if hasattr(text, "own_length"):
        return int(text.padding)
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
    x = _projected(x, model.text_projection)
    return F.normalize(x, dim=-1) if normalize else x
