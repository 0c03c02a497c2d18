"""The first steps of trainings with different settings: losses, gradients, learning rates and figures on val.

The numbers differ between processors in the last of float32's digits, which a few steps hardly enlarge.
"""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from squares_dataset import MODEL, TRAIN, made_png, made_sample

from hubbleclip.config.settings import ShardSettings
from hubbleclip.core.io import sha256_bytes
from hubbleclip.dataset.build import build_dataset
from hubbleclip.training.checkpoints import read_best
from hubbleclip.training.finetuning import MODES, apply_mode
from hubbleclip.training.loop import train
from hubbleclip.training.models.builder import load_model
from hubbleclip.training.optimizer import make_optimizer

RECIPES = {
    "default": {},
    "resumed": {},
    "info_nce": {"loss": "info_nce"},
    "info_nce_masked": {"loss": "info_nce_masked"},
    "siglip": {"loss": "siglip"},
    "siglip_masked": {"loss": "siglip_masked"},
    "head": {"mode": "head"},
    "locked_image": {"mode": "locked_image"},
    "lora": {"mode": "lora", "lora_rank": 2},
    "micro_batch": {"micro_batch": 3},
    "average": {"ema": 0.5},
    "distillation": {"distillation_weight": 2.0, "micro_batch": 3},
    "distillation of logits": {"distillation_weight": 0.5, "distillation": "logits", "loss": "siglip"},
    "mixtures": {"wise_alphas": (1.0, 0.0, 0.3)},
    "captions": {"captions": {"abstract": 1, "abstract_sentences": 2, "title": 0.5}},
    "hard negatives": {"hard_share": 0.5},
    "clipped": {"grad_clip": 0.05},
    "rates": {"layer_decay": 0.7, "weight_decay": 0.2},
    "crops": {"min_crop_share": 0.9},
    "shuffled": {"shuffled": True},
    "resumed average": {"ema": 0.5, "wise_alphas": (1.0, 0.5), "loss": "siglip", "micro_batch": 4},
    "local head": {"mode": "head", "loss": "siglip_masked", "micro_batch": 4, "local_loss": True, "layer_decay": 0.5},
}


TRAINED: dict[str, dict[str, Any]] = {
    **{mode: {"mode": mode, "lora_rank": 3} for mode in MODES},
    "upper image": {"mode": "locked_image", "lock_image_unlocked_groups": 1},
    "upper text": {"mode": "linear", "lock_text_unlocked_layers": 1},
    "head on aligned towers": {"mode": "head"},
}
"""Settings that decide which parameters are trained; those of the last one start from the weights of a file."""


def test_the_trained_parameters_of_each_mode_are_those_recorded(tmp_path: Path, compare_recorded) -> None:
    """Shape of each trained parameter, its share of the learning rate, and its weight decay."""
    torch.save(load_model(MODEL, 7).model.state_dict(), tmp_path / "weights.pt")
    found: dict[str, Any] = {}
    for name, changes in TRAINED.items():
        settings = TRAIN.model_copy(update={"layer_decay": 0.5, "weight_decay": 0.2} | changes)
        pretrained = str(tmp_path / "weights.pt") if "aligned" in name else ""
        model = apply_mode(load_model(MODEL.model_copy(update={"pretrained": pretrained}), 1), settings).model
        groups = make_optimizer(model, settings).param_groups
        options = {one: (group["rate_share"], group["weight_decay"]) for group in groups for one in group["params"]}
        named = {path: one for path, one in model.named_parameters() if one.requires_grad}
        found |= {f"{name}: {path}": [*one.shape, *options.pop(one)] for path, one in named.items()}
        assert options == {}
    compare_recorded("trained_parameters.json", found)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 groups of two tiles; every third group has a proposal per tile, with captions of their own."""
    root, samples, pngs = tmp_path_factory.mktemp("recorded"), [], {}
    for group in range(24):
        for view in range(2):
            png = made_png(group, view)
            one = made_sample(group, view, ("train", "train", "val", "train")[group % 4], png)
            if group % 3 == 0:
                one = replace(
                    one,
                    proposal_id=f"{one.proposal_id}-{view}",
                    captions=[f"View {view}: {text}" for text in one.captions],
                )
            samples.append(replace(one, category=("Galaxies", "Stars")[group // 2 % 2], png_sha256=sha256_bytes(png)))
            pngs[one.tile_id] = png
    built = build_dataset(
        samples, pngs.__getitem__, root, ShardSettings(), contract_version="1.0.0", code_version="test"
    )
    return root / built.dataset.digest


def rows_of(run_dir: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def figures(dataset: Path, runs: Path, recipe: str) -> dict[str, float]:
    """The figures of every step, and the share of the trained weights in the best mixture, if there is one."""
    settings, model = TRAIN.model_copy(update={"batch_size": 6, "steps": 4, **RECIPES[recipe]}), MODEL
    if settings.distillation_weight:
        weights = runs.with_suffix(".pt")
        torch.save(load_model(MODEL, 7).model.state_dict(), weights)
        model = MODEL.model_copy(update={"pretrained": str(weights)})

    def stop(step: int, _: object) -> None:
        if step == 3:
            raise KeyboardInterrupt

    if recipe.startswith("resumed"):
        with pytest.raises(KeyboardInterrupt):
            train(dataset, runs, model, settings, code_version="test", on_progress=stop)
    run_dir = train(dataset, runs, model, settings, code_version="test")
    found = {f"{recipe} {row['step']} {name}": value for row in rows_of(run_dir) for name, value in row.items()}
    best = {f"{recipe} best {name}": value for name, value in read_best(run_dir).items() if name != "sha256"}
    left_out = re.compile(r" step$|_s$|_recall_at_\d+$")  # the accuracy on val is recorded
    return {name: value for name, value in found.items() if not left_out.search(name)} | best


def test_first_steps_are_those_recorded(dataset: Path, tmp_path: Path, compare_recorded) -> None:
    found: dict[str, float] = {}
    for recipe in RECIPES:
        found |= figures(dataset, tmp_path / recipe, recipe)
    compare_recorded("training.json", found, tolerance=2e-4)
