"""A tiny dataset that can be learnt, for the tests of this folder: bright squares whose place and words agree."""

import hashlib
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import open_clip
from PIL import Image

from hubbleclip.config.settings import ModelSettings, ShardSettings, TrainSettings
from hubbleclip.core.records import Sample
from hubbleclip.dataset.build import build_dataset

PLACES = ("top", "bottom", "left", "right")
open_clip.add_model_config(Path(__file__).parent / "models")
MODEL = ModelSettings(name="squares-vit", pretrained="")
TRAIN = TrainSettings(
    steps=6,
    batch_size=4,
    learning_rate=1e-3,
    eps=1e-8,
    warmup_steps=2,
    log_every=1,
    validate_every=2,
    checkpoint_every=2,
    workers=0,
    precision="fp32",
    seed=3,
)


def made_png(group: int, view: int) -> bytes:
    tile_yx = np.random.default_rng([group, view]).integers(0, 20, (64, 64), dtype=np.uint8)
    y0, x0 = ((4, 24), (44, 24), (24, 4), (24, 44))[group % 4]
    tile_yx[y0 : y0 + 16, x0 : x0 + 16] = 230
    out = io.BytesIO()
    Image.fromarray(tile_yx).save(out, "PNG")
    return out.getvalue()


def made_sample(group: int, view: int, split: str, png: bytes) -> Sample:
    from valid_catalog import make  # not where a process of its own imports the settings alone

    place = PLACES[group % 4]
    return make(
        Sample,
        tile_id=hashlib.sha256(f"{group} {view}".encode()).hexdigest()[:32],
        split=split,
        group_id=f"group-{group:03d}",
        proposal_id=f"made:{group}",
        archive="simulated",
        obs_id=f"o{group}-{view}",
        png_sha256=hashlib.sha256(png).hexdigest(),
        caption_kinds=["abstract", "title"],
        captions=[
            f"We saw a square at the {place}. It is number {group} of many. It shines brightly.",
            f"Square {group}",
        ],
    )


def make_dataset(root: Path, num_groups: int = 10, views: int = 2, without: tuple[str, ...] = ()) -> Path:
    """Groups take the splits train, train, train, val, test in turn; returns the dataset's directory."""
    splits = ("train", "train", "train", "val", "test")
    pngs, samples = {}, []
    for group in range(num_groups):
        for view in range(views):
            png = made_png(group, view)
            sample = made_sample(group, view, splits[group % 5], png)
            samples.append(replace(sample, split="train") if sample.split in without else sample)
            pngs[sample.tile_id] = png
    build_dataset(samples, pngs.__getitem__, root, ShardSettings(), contract_version="1.0.0", code_version="test")
    return next(path for path in root.iterdir() if not path.name.startswith("."))
