"""Training as open_clip does it: its own `train_one_epoch`, loss, image transform and optimizer groups.

Its own reader of shards needs webdataset <= 0.2.86 (its issue 935), so the same steps stand here on today's webdataset.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import webdataset as wds
from open_clip import AugmentationCfg, ClipLoss, image_transform
from open_clip_train.data import DataInfo
from open_clip_train.params import parse_args
from open_clip_train.train import train_one_epoch
from torch import Tensor

LOOP = "open_clip_train"
SHUFFLE_BUFFER = 200


@dataclass
class Batches:
    """What `train_one_epoch` asks of a loader."""

    batches: Iterable[tuple[Tensor, Tensor]]
    num_batches: int
    num_samples: int

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return iter(self.batches)


def open_batches(
    dataset_dir: Path,
    num_batches: int,
    batch_size: int,
    *,
    image_size: int,
    min_crop_share: float,
    mean: Sequence[float],
    std: Sequence[float],
    tokenizer: Any,
) -> Batches:
    """The first batches of an epoch of the train split: images (b, 3, image_size, image_size) and tokens (b, l)."""
    crops = AugmentationCfg(scale=(min_crop_share, 1.0))
    transform = image_transform(image_size, is_train=True, mean=tuple(mean), std=tuple(std), aug_cfg=crops)
    shards = sorted(str(path) for path in dataset_dir.glob("train-*.tar"))
    pairs = wds.WebDataset(shards, shardshuffle=False).shuffle(SHUFFLE_BUFFER).decode("pilrgb").to_tuple("png", "txt")
    ready = pairs.map_tuple(transform, lambda text: tokenizer([text])[0]).batched(batch_size).with_epoch(num_batches)
    return Batches(wds.WebLoader(ready, batch_size=None, num_workers=0), num_batches, num_batches * batch_size)


def make_optimizer(model: Any, learning_rate: float, weight_decay: float) -> torch.optim.Optimizer:
    """As in open_clip_train.main: norms, biases and the scale are left free of decay."""
    free, rest = [], []
    for name, parameter in model.named_parameters():
        is_free = parameter.ndim < 2 or any(part in name for part in ("bn", "ln", "bias", "logit_scale"))
        (free if is_free else rest).append(parameter)
    groups = [{"params": free, "weight_decay": 0.0}, {"params": rest, "weight_decay": weight_decay}]
    return torch.optim.AdamW(groups, lr=learning_rate, betas=(0.9, 0.98), eps=1e-6)


def train(model: Any, optimizer: torch.optim.Optimizer, batches: Batches, device: torch.device, clip: float) -> None:
    """One epoch in bfloat16 autocast."""
    model.output_dict = True
    flags = ["--precision", "amp_bf16", "--skip-scheduler", "--grad-clip-norm", str(clip), "--device", str(device)]
    once = {"distill": False, "rank": 0, "world_size": 1, "wandb": False, "batch_size": batches.num_samples}
    arguments = Namespace(**{**vars(parse_args(flags)), **once})
    train_one_epoch(model, {"train": DataInfo(batches)}, ClipLoss(), 0, optimizer, None, None, None, arguments)
