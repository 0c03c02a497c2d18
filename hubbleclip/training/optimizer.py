"""AdamW and its learning rate."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence

import torch
from torch import nn

from hubbleclip.config.settings import TrainSettings
from hubbleclip.training.finetuning import BOTH, is_projection, tower_of

BETAS = (0.9, 0.98)  # CLIP, arXiv 2103.00020, table 18
LAYER = re.compile(r"(?:resblocks|blocks|layers?|stages)\.?(\d+)\.")


def make_optimizer(model: nn.Module, settings: TrainSettings) -> torch.optim.AdamW:
    """AdamW with decay on matrices only: biases, norms, scale and bias of the logits are left free.

    Each group has the `rate_share` that its parameters take of the learning rate of the step.
    """
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    shares = rate_shares([name for name, _ in model.named_parameters()], settings)
    groups: dict[tuple[float, bool], list[nn.Parameter]] = defaultdict(list)
    for name, parameter in trained.items():
        groups[shares[name], parameter.ndim >= 2].append(parameter)
    options = [
        {"params": group, "rate_share": share, "weight_decay": settings.weight_decay if is_matrix else 0.0}
        for (share, is_matrix), group in groups.items()
    ]
    return torch.optim.AdamW(options, lr=settings.learning_rate, betas=BETAS, fused=True)


def rate_shares(names: Iterable[str], settings: TrainSettings) -> dict[str, float]:
    """Share of the learning rate for each parameter, by name, in the model's order: 1 for projections, heads, scale and
    bias; `tower_rate * layer_decay ** d` for what has d layers of its tower above it (ELECTRA, arXiv 2003.10555, 3.1).
    """
    shares = dict.fromkeys(names, 1.0)
    of_towers = [name for name in shares if tower_of(name) and not is_projection(name)]
    for tower in BOTH:
        layers = _layers([name for name in of_towers if tower_of(name) == tower])
        top = max(layers.values(), default=0)
        shares |= {n: settings.tower_rate * settings.layer_decay ** (top - layer) for n, layer in layers.items()}
    return shares


def _layers(names: Sequence[str]) -> dict[str, int]:
    """0 for stem and embeddings, n + 1 for layer n, one more than the last for what comes after the layers."""
    layers = {name: int(found[1]) + 1 for name in names if (found := LAYER.search(name))}
    first = next((i for i, name in enumerate(names) if name in layers), 0)
    top = max(layers.values(), default=0) + 1
    rest = {name: top if i > first and "emb" not in name else 0 for i, name in enumerate(names) if name not in layers}
    return layers | rest


def learning_rate(step: int, settings: TrainSettings) -> float:
    """Rate of the step, counted from 0: linear warm-up to the peak, then half a cosine to zero at the last step."""
    warmup = min(settings.warmup_steps, settings.steps)
    if step < warmup:
        return settings.learning_rate * (step + 1) / warmup
    progress = (step - warmup) / max(1, settings.steps - warmup)
    return settings.learning_rate * (1 + math.cos(math.pi * progress)) / 2


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set every group's share of the rate, in place."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["rate_share"]
