"""Prepare models for embedding: choose the device, and the precision of the weights."""

from __future__ import annotations

import torch

from hubbleclip.training.models.builder import LoadedModel

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
