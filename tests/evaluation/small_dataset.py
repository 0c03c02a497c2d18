"""A small dataset with images that differ by class of object, and short training runs, for the tests of evaluation."""

import io
from pathlib import Path

import numpy as np
import squares_dataset
from evaluation_samples import abstract, sample
from PIL import Image

from hubbleclip.config.settings import ModelSettings, ShardSettings, TrainSettings
from hubbleclip.core.io import sha256_bytes
from hubbleclip.dataset.build import build_dataset
from hubbleclip.training.loop import train

SIZE_PX = 96
MODEL = ModelSettings(name="hubbleclip-tiny", pretrained="")
SMALL_MODEL = squares_dataset.MODEL


def make_png(index: int, group: int) -> bytes:
    """Draw a disk, a swarm of points, a streak or a ring, by the class of the group."""
    rng = np.random.default_rng(index)
    y, x = np.mgrid[:SIZE_PX, :SIZE_PX] - SIZE_PX / 2 + rng.normal(scale=4, size=(2, 1, 1))
    radius = np.hypot(y, x)
    points = np.zeros_like(radius)
    points[tuple(rng.integers(0, SIZE_PX, (2, 150)))] = 200
    shapes = (
        220 * np.exp(-radius / 12),
        points,
        220 * np.exp(-np.abs(y + x) / 4),
        220 * np.exp(-np.abs(radius - 24) / 3),
    )
    data_yx = np.clip(shapes[group % 4] + rng.normal(12, 4, radius.shape), 0, 255)
    buffer = io.BytesIO()
    Image.fromarray(np.rint(data_yx).astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def build(folder: Path, num_groups: int = 30, tiles_per_group: int = 3, num_test_groups: int = 12) -> Path:
    """Build a dataset whose last groups are val (2) and test; return its folder."""
    first_test = num_groups - num_test_groups
    splits = ["train"] * (first_test - 2) + ["val"] * 2 + ["test"] * num_test_groups
    pairs = [(group * tiles_per_group + tile, group) for group in range(num_groups) for tile in range(tiles_per_group)]
    drawn = [make_png(*pair) for pair in pairs]
    samples = [
        sample(
            index, group, splits[group], png_sha256=sha256_bytes(png), captions=[abstract(group) * 2, f"Study {group}"]
        )
        for (index, group), png in zip(pairs, drawn, strict=True)
    ]
    pngs = {one.tile_id: png for one, png in zip(samples, drawn, strict=True)}
    built = build_dataset(
        samples, pngs.__getitem__, folder, ShardSettings(), contract_version="1.0.0", code_version="test"
    )
    return folder / built.dataset.digest


def train_small_run(
    dataset_dir: Path, runs_dir: Path, steps: int, shuffled: bool = False, model: ModelSettings = MODEL
) -> Path:
    settings = TrainSettings(
        steps=steps,
        batch_size=16,
        learning_rate=1e-3,
        warmup_steps=2,
        workers=0,
        log_every=10,
        validate_every=steps,
        checkpoint_every=steps,
        precision="fp32",
        seed=3,
        shuffled=shuffled,
    )
    return train(dataset_dir, runs_dir, model, settings, code_version="test")
