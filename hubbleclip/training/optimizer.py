"""AdamW and its learning rate."""

from __future__ import annotations

import math

import torch
from torch import nn

from hubbleclip.settings import TrainSettings

BETAS = (0.9, 0.98)  # CLIP, arXiv 2103.00020, table 18


def make_optimizer(model: nn.Module, settings: TrainSettings) -> torch.optim.AdamW:
    """AdamW with decay on matrices only: biases, norms, scale and bias of the logits are left free."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": settings.weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=BETAS, fused=True)


def learning_rate(step: int, settings: TrainSettings) -> float:
    """Rate of the step, counted from 0: linear warm-up to the peak, then half a cosine to zero at the last step."""
    warmup = min(settings.warmup_steps, settings.steps)
    if step < warmup:
        return settings.learning_rate * (step + 1) / warmup
    progress = (step - warmup) / max(1, settings.steps - warmup)
    return settings.learning_rate * (1 + math.cos(math.pi * progress)) / 2


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the rate of every group, in place."""
    for group in optimizer.param_groups:
        group["lr"] = rate
