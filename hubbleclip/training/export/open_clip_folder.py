"""Write a model as a folder that open_clip loads by the name `local-dir:FOLDER`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from open_clip.hf_model import HFTextEncoder
from safetensors.torch import save_file
from torch.nn.utils.parametrize import is_parametrized, remove_parametrizations

from hubbleclip.config.model import OPEN_CLIP_CONFIG
from hubbleclip.core.errors import TrainingError, explained
from hubbleclip.training.export import preprocess
from hubbleclip.training.finetuning import ModelWithHeads
from hubbleclip.training.models.builder import LoadedModel, architecture
from hubbleclip.training.models.pretrained import HUB_NAME, TOWERS
from hubbleclip.training.models.text_context import OWN_LENGTH

WEIGHTS = "open_clip_model.safetensors"
"""Name of the weight file; open_clip prefers this file to all other weight files in a folder."""
PREPROCESS, CARD = "preprocess.py", "README.md"


def merged(loaded: LoadedModel) -> LoadedModel:
    """Prepare a model for export: fp32, on the CPU, with the low-rank updates of LoRA added to the weights."""
    if isinstance(loaded.model, ModelWithHeads):
        raise TrainingError(
            "open_clip does not know the perceptrons of train.mode = 'head': export a run of another mode"
        )
    loaded.model.to("cpu", torch.float32).eval()
    for module in list(loaded.model.modules()):
        if is_parametrized(module):
            for name in list(module.parametrizations):
                remove_parametrizations(module, name, leave_parametrized=True)
    return loaded


def write_open_clip(loaded: LoadedModel, folder: Path) -> None:
    """Write configuration, weights and preprocessing, and the tokenizer unless it is a part of open_clip."""
    config = open_clip_config(loaded)
    (folder / OPEN_CLIP_CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    state = {name: weight.contiguous() for name, weight in loaded.model.state_dict().items()}
    with explained(lambda error: TrainingError(f"{folder / WEIGHTS} cannot be written ({error})"), folder):
        save_file(state, folder / WEIGHTS)
    source = Path(preprocess.__file__).read_text(encoding="utf-8")
    (folder / PREPROCESS).write_text(source, encoding="utf-8")
    text = getattr(loaded.model, "text", None)
    if isinstance(text, HFTextEncoder):
        text.config.save_pretrained(folder)
    if hasattr(loaded.tokenizer, "save_pretrained"):  # CLIP's tokenizer cannot be saved, as it is a part of open_clip
        loaded.tokenizer.save_pretrained(folder)


def is_longer_than_open_clip(loaded: LoadedModel) -> bool:
    """Test whether a stretched text tower needs `text_context.encode_padded`, a method that open_clip does not have."""
    return hasattr(getattr(loaded.model, "text", None), "own_length")


def open_clip_config(loaded: LoadedModel) -> dict[str, Any]:
    """Describe a model and its preprocessing in open_clip's format."""
    model_config = architecture(loaded.settings)
    if loaded.model.logit_bias is not None:
        model_config.setdefault("init_logit_bias", 0.0)
    text = model_config["text_cfg"]
    if is_longer_than_open_clip(loaded):
        text[OWN_LENGTH] = loaded.model.text.own_length
    if loaded.settings.name == TOWERS:
        text["hf_model_name"] = text["hf_tokenizer_name"] = HUB_NAME
    return {
        "model_cfg": model_config,
        "preprocess_cfg": {
            "size": loaded.image_size,
            "mode": "RGB",
            "mean": list(loaded.mean),
            "std": list(loaded.std),
            "interpolation": "bicubic",
            "resize_mode": "squash",
        },
    }
