"""Short makers of settings, folders and trainers for the calls in `training.json`."""

import json
import logging
import zipfile
from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from opened_trainers import ALONE
from PIL import Image

from hubbleclip.config.settings import ModelSettings, TrainSettings
from hubbleclip.training.checkpoints import checkpoint_name
from hubbleclip.training.models.builder import LoadedModel
from hubbleclip.training.models.model_folder import OPEN_CLIP_CONFIG
from hubbleclip.training.runs import REQUIRED_FACTS, write_facts
from hubbleclip.training.trainer import Trainer, render_views

__all__ = ["ALONE", "SimpleNamespace", "sha256"]


def said(*words: object, **named: object) -> None:
    logging.getLogger("hubbleclip").info("%s %s", words, named)


WANDB = SimpleNamespace(log=said, finish=lambda: said("the end"))
WANDB.init = lambda **settings: said(**settings) or WANDB
"""Weights & Biases, which logs what it is given."""


def pair(*differences: float) -> Any:
    """Two processes on the CPU. At each gathering, the numbers of the second are those of the first plus a difference."""
    left = iter(differences)
    return SimpleNamespace(device=ALONE.device, size=2, gather=lambda x: torch.cat([x, x + next(left)]))


def hub(folder: Path) -> Any:
    """A hub that logs what it is asked for; each repository has the files of a folder."""
    patched = ExitStack()
    for name in ("huggingface_hub.snapshot_download", "open_clip.pretrained.download_pretrained_from_hf"):
        patched.enter_context(patch(name, lambda *one, **options: said(*one, **options) or str(folder)))
    return patched


def facts(run_dir: Path, **changes: Any) -> Path:
    """Write the description of a run: the changes, and an empty text for each other field."""
    write_facts(run_dir, {**dict.fromkeys(REQUIRED_FACTS, ""), **changes})
    return run_dir


def runs(folder: Path, *lines: str) -> Path:
    """Write facts of runs, each given as name, dataset and status."""
    for name, dataset, status in map(str.split, lines):
        facts(folder / name, dataset_digest=dataset, settings_digest="s", status=status)
    return folder


def checkpoints(run_dir: Path, *steps: int) -> Path:
    """Write files with the names of checkpoints, of as many zero bytes as steps."""
    for step in steps:
        touched(run_dir, f"checkpoints/{checkpoint_name(step)}")
        (run_dir / "checkpoints" / checkpoint_name(step)).write_bytes(bytes(step))
    return run_dir


def touched(folder: Path, names: str) -> Path:
    """Make empty files in a folder and its subfolders."""
    for name in names.split():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    return folder


def config(folder: Path, values: dict[str, Any], name: str = OPEN_CLIP_CONFIG) -> Path:
    """Write a configuration of a model into a folder."""
    (folder / name).write_text(json.dumps(values))
    return folder


def zipped(path: Path, compression: int) -> Path:
    """Write a zip file with a member of 999 zero bytes."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("a", bytes(999))
    return path


def loaded(name: str = "RN50", weights: str = "", *, padding_id: int | None = 0, **changes: Any) -> LoadedModel:
    """A loaded model without weights."""
    settings, model = ModelSettings(name=name, pretrained=weights), SimpleNamespace()
    values: dict[str, Any] = {"model": model, "tokenizer": None, "image_size": 2, "mean": (), "std": ()} | changes
    return LoadedModel(**values, context_length=4, padding_id=padding_id, settings=settings)


def grey(height: int, width: int) -> Image.Image:
    """A picture of the grey levels 0, 51, 102 and so on."""
    return Image.fromarray(np.arange(height * width, dtype=np.uint8).reshape(height, width) * 51)


def vision_config(**changes: Any) -> SimpleNamespace:
    """Configuration of an image tower of transformers."""
    size = {"image_size": 224, "patch_size": 32, "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12}
    return SimpleNamespace(**size | {"intermediate_size": 3072, "hidden_act": "quick_gelu"} | changes)


def text_config(**changes: Any) -> SimpleNamespace:
    """Configuration of a text tower of transformers."""
    size = {"max_position_embeddings": 77, "vocab_size": 9, "hidden_size": 512, "num_attention_heads": 8}
    more = {"num_hidden_layers": 6, "intermediate_size": 1024, "layer_norm_eps": 1e-6, "projection_size": 4}
    return SimpleNamespace(**size | more | changes)


def trainer(settings: dict[str, Any], num_groups: int = 2, captions: str = "ab", **changes: Any) -> Trainer:
    """A trainer without model, whose val has these captions of one letter."""
    val: Any = SimpleNamespace(num_groups=num_groups, main_captions=[*captions])
    parts: dict[str, Any] = dict.fromkeys(("loaded", "gradients", "optimizer", "average", "run_dir"))
    return Trainer(settings=TrainSettings(**settings), val=val, **parts | changes)


def rendered(affine: list[list[float]], gain: float, size: int) -> Any:
    """Render a picture of 2 x 2 pixels in a view."""
    picture = torch.tensor([[[[0, 255], [51, 102]]]], dtype=torch.uint8)
    view = render_views(picture, torch.tensor([affine]), torch.tensor([gain]), size)
    return view.double().round(decimals=4).squeeze().tolist()
