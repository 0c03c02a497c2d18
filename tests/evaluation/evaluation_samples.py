"""Sample rows, runs, metrics and estimates for the tests of evaluation."""

import hashlib
from typing import Any

import numpy as np
from valid_catalog import make

from hubbleclip.core.records import Metric, Run, Sample
from hubbleclip.evaluation.metrics.protocols import Estimate
from hubbleclip.evaluation.test_set import TestSet

CLASSES = ("SPIRAL GALAXY", "GLOBULAR CLUSTER", "COMET", "PLANETARY NEBULA")


def abstract(group: int) -> str:
    object_class = CLASSES[group % len(CLASSES)].lower()
    return f"We propose to observe a {object_class}, number {group}. Its light tells of its age. Field {group * 7} is deep."


def sample(index: int, group: int = 0, split: str = "test", **changes: Any) -> Sample:
    tile_id = hashlib.sha256(f"{index}".encode()).hexdigest()[:32]
    values: dict[str, Any] = {
        "tile_id": tile_id,
        "split": split,
        "group_id": f"group-{group}",
        "proposal_id": f"simulated:{group}",
        "archive": "simulated",
        "category": "Galaxies",
        "title": f"Study {group}",
        "pi": "A. Nonymous",
        "cycle": 20,
        "obs_id": f"obs{index}",
        "target_name": f"FIELD-{group}",
        "target_class": f"SIMULATED;{CLASSES[group % 4]}",
        "is_moving": False,
        "instrument": "WFC3/UVIS",
        "filter": "F606W",
        "ra_deg": 10.0 + index,
        "dec_deg": -3.0,
        "corners_deg": [],
        "pixel_scale_arcsec": 0.04,
        "valid_share": 1.0,
        "product_uri": f"mast:HST/product/{index}",
        "product_sha256": "0" * 64,
        "png_sha256": "0" * 64,
        "caption_kinds": ["abstract", "title"],
        "captions": [abstract(group), f"Study {group}"],
    }
    return Sample(**{**values, **changes})


def drawn(caption_t: Any, group_c: Any, weights_bg: Any) -> tuple[TestSet, Any]:
    """A test set of which only captions, groups and tile ids are used, and its resamples."""
    samples = tuple(sample(index) for index in range(len(caption_t)))
    return TestSet(samples=samples, caption_t=caption_t, captions_c=(), group_c=group_c), weights_bg


def one_caption_per_group(caption_t: Any, weights_bg: Any) -> tuple[TestSet, Any]:
    """A test set where every caption is a group of its own, and its resamples."""
    return drawn(caption_t, np.arange(weights_bg.shape[1]), weights_bg)


def metric(name: str, value: float, low: float | None = None, high: float | None = None, **changes: Any) -> Metric:
    """A metric of the fine-tuned model under the protocol `fair`."""
    values = {"run_id": "r", "protocol": "fair", "split": "test", "model": "fine_tuned"} | changes
    return Metric(**values, name=name, value=value, low=low, high=high)


def estimate(value: float = 0.5, num_groups: int = 50, **changes: Any) -> Estimate:
    """An estimate of groups of one query each under the protocol `fair`."""
    values = {"protocol": "fair", "scorer": "m", "name": "i2t_accuracy_at_10pct"}
    return Estimate(**values | {"value": value, "sizes_g": np.ones(num_groups, np.int64)} | changes)


RUN = make(
    Run,
    run_id="20260101T000000-abcd",
    dataset_digest="d" * 32,
    model="ViT-B-16",
    pretrained="openai",
    loss="multi_positive",
    samples_seen=115200,
    best_step=600,
    settings='{"train": {"mode": "lora", "batch_size": 128}}',
)
