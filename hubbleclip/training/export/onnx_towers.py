"""Write both towers of a model as ONNX files, which run without torch."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hubbleclip.core.errors import needing
from hubbleclip.training.export.probes import probe_inputs, require_equal
from hubbleclip.training.models.builder import LoadedModel

IMAGE_FILE, TEXT_FILE = "image_tower.onnx", "text_tower.onnx"
MAX_INLINE_BYTES = 1_800_000_000
"""Weights larger than this are written to a separate file, because an ONNX file has at most 2 GiB."""


class Tower(nn.Module):
    """One tower of a model, whose features have length 1."""

    def __init__(self, model: Any, method: str) -> None:
        super().__init__()
        self.model = model
        self.method = method

    def forward(self, inputs: Tensor) -> Tensor:
        """Encode a batch."""
        return F.normalize(getattr(self.model, self.method)(inputs), dim=-1)


def write_onnx(loaded: LoadedModel, folder: Path) -> None:
    """Write `image_tower.onnx` and `text_tower.onnx`, and check that onnxruntime computes the same features."""
    with needing("export", "the export to ONNX (or give --no-onnx)"):
        import onnxruntime  # noqa: PLC0415 - optional
        import onnxscript  # noqa: F401, PLC0415 - used by torch.onnx
    images, tokens = probe_inputs(loaded)
    _write_tower(Tower(loaded.model, "encode_image"), images[:2], folder / IMAGE_FILE, "pixel_values", "image_features")
    _write_tower(Tower(loaded.model, "encode_text"), tokens[:2], folder / TEXT_FILE, "input_ids", "text_features")
    image_session, text_session = (onnxruntime.InferenceSession(folder / name) for name in (IMAGE_FILE, TEXT_FILE))
    require_equal(
        "ONNX",
        loaded,
        lambda pixels: torch.from_numpy(image_session.run(None, {"pixel_values": pixels.numpy()})[0]),
        lambda ids: torch.from_numpy(text_session.run(None, {"input_ids": ids.numpy()})[0]),
    )


def _write_tower(tower: Tower, example: Tensor, path: Path, input_name: str, output_name: str) -> None:
    """Write one tower, with a dynamic batch size."""
    size_bytes = sum(weight.numel() * weight.element_size() for weight in tower.parameters())
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)  # torch logs each step of the export
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            torch.onnx.export(
                tower,
                (example,),
                path,
                input_names=[input_name],
                output_names=[output_name],
                dynamo=True,
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                external_data=size_bytes > MAX_INLINE_BYTES,
                verbose=False,
            )
    finally:
        logging.disable(level)
