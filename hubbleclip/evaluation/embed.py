"""Prepare models for embedding, and embed all tiles of a split; the features are those of `training.embeddings`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from hubbleclip.training.embeddings import Floats, embed_open_tiles, embed_short_texts, embed_texts
from hubbleclip.training.models.builder import LoadedModel

if TYPE_CHECKING:
    from hubbleclip.dataset.build import DatasetInfo

__all__ = [
    "embed_open_tiles",
    "embed_short_texts",
    "embed_texts",
    "embed_tiles",
    "native_precision",
    "prepare_for_embedding",
    "resolve_precision",
]

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def prepare_for_embedding(loaded: LoadedModel, precision: str) -> LoadedModel:
    """Move a model to the GPU if there is one, and cast its weights to a precision; the model is changed in place.

    Casting the weights once is faster than autocast, which casts the weights again for every batch.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    loaded.model.to(device, DTYPES[resolve_precision(precision)])
    return loaded


def resolve_precision(precision: str) -> str:
    """Replace the precision `auto` by the native precision of the device in use; return other precisions unchanged."""
    return native_precision("cuda" if torch.cuda.is_available() else "cpu") if precision == "auto" else precision


def native_precision(device: str) -> str:
    """Return `bf16` if the device multiplies bfloat16 in hardware, or `fp32` if the device only emulates bfloat16."""
    if device == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    capabilities = torch.cpu.get_capabilities()
    return "bf16" if capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") else "fp32"


def embed_tiles(loaded: LoadedModel, info: DatasetInfo, split: str, batch_size: int) -> tuple[list[str], Floats]:
    """Embed all tiles of a split; each tile is used as a whole and without augmentation."""
    from hubbleclip.dataset.loader import open_split  # noqa: PLC0415 - a search, which embeds a text, needs no tiles

    tiles = open_split(info, split)
    return tiles.rows["tile_id"].to_pylist(), embed_open_tiles(loaded, tiles, batch_size)
