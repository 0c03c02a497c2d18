"""Loading and training as one does them with webdataset, torchvision and open_clip's own loss in a plain loop."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch
import webdataset as wds
from open_clip import ClipLoss
from torch import Tensor
from torchvision import transforms

LOADER = "webdataset + Pillow + torchvision"
LOOP = "open_clip model and ClipLoss in a plain loop"
SHUFFLE_BUFFER = 200


def iterate_batches(
    dataset_dir: Path,
    num_batches: int,
    batch_size: int,
    *,
    image_size: int,
    min_crop_share: float,
    mean: Sequence[float],
    std: Sequence[float],
    tokenizer: Any,
) -> Iterator[tuple[Tensor, Tensor]]:
    """The first batches of an epoch of the train split: images (b, 3, image_size, image_size) and tokens (b, l)."""
    augment = transforms.Compose(
        [
            transforms.RandomResizedCrop(image_size, scale=(min_crop_share, 1), ratio=(1, 1)),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Lambda(lambda levels: levels.expand(3, -1, -1)),
            transforms.Normalize(mean, std),
        ]
    )
    shards = sorted(str(path) for path in dataset_dir.glob("train-*.tar"))
    pairs = wds.WebDataset(shards, shardshuffle=False).shuffle(SHUFFLE_BUFFER).decode("pil").to_tuple("png", "txt")
    ready = pairs.map_tuple(augment, lambda text: tokenizer([text])[0]).batched(batch_size)
    loader = wds.WebLoader(ready, batch_size=None, num_workers=0)
    return islice(iter(loader), num_batches)


def train(
    model: Any, optimizer: torch.optim.Optimizer, batches: Iterable[tuple[Tensor, Tensor]], device: torch.device
) -> float:
    """Train on every batch in bfloat16 autocast; return the last loss."""
    compute_loss = ClipLoss()
    model.train()
    for images, tokens in batches:
        with torch.autocast(device.type, torch.bfloat16):
            features = model(images.to(device), tokens.to(device))
            loss = compute_loss(*features[:3])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, 4.6052)
    return float(loss.detach())
