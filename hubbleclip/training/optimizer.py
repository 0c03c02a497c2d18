"""Create the optimizer AdamW, and compute its learning rate for each parameter and step."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable

import torch
from open_clip.transformer import VisionTransformer
from timm.models import vision_transformer, vision_transformer_relpos
from timm.models.eva import Eva
from torch import nn

from hubbleclip.config.settings import TrainSettings
from hubbleclip.training.finetuning import BOTH, is_projection, layer_depths, tower_of

TRANSFORMERS = (
    *(VisionTransformer, vision_transformer.VisionTransformer, vision_transformer_relpos.VisionTransformerRelPos, Eva),
)
"""Classes of image towers that are vision transformers."""


def make_optimizer(model: nn.Module, settings: TrainSettings) -> torch.optim.AdamW:
    """Create AdamW over the trained parameters, with open_clip's default beta2 and eps for the type of the image tower.

    Weight decay applies to matrices only, not to biases, norms, logit scale and logit bias.
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
    tower = getattr(getattr(model, "base", model), "visual", None)
    is_vit = isinstance(getattr(tower, "trunk", tower), TRANSFORMERS)
    beta2, eps = (0.98, 1e-6) if is_vit else (0.999, 1e-8)  # `get_default_params` of open_clip_train
    return torch.optim.AdamW(
        options,
        lr=settings.learning_rate,
        betas=(settings.beta1, beta2 if settings.beta2 is None else settings.beta2),
        eps=settings.eps or eps,
        fused=True,
    )


def rate_shares(names: Iterable[str], settings: TrainSettings) -> dict[str, float]:
    """Compute the factor by which the learning rate is multiplied for each parameter.

    In a tower, the factor decays by `layer_decay` per layer towards the input (ELECTRA, arXiv 2003.10555, section 3.1).
    """
    shares = dict.fromkeys(names, 1.0)
    tower_names = [name for name in shares if tower_of(name) and not is_projection(name)]
    for tower in BOTH:
        layers = layer_depths([name for name in tower_names if tower_of(name) == tower])
        top = max(layers.values(), default=0)
        shares |= {n: settings.layer_decay ** (top - layer) for n, layer in layers.items()}
    return shares


def learning_rate(step: int, settings: TrainSettings) -> float:
    """Compute the rate after `step` finished steps: linear warm-up to the peak, then the schedule of the settings."""
    warmup = min(settings.warmup_steps, settings.steps)
    if step < warmup:
        return settings.learning_rate * (step + 1) / warmup  # step + 1, so that the rate of step 0 is not 0
    if settings.lr_scheduler != "cosine":
        left = settings.steps - step
        is_cooling = settings.lr_scheduler == "const-cooldown" and left < settings.cooldown_steps
        return settings.learning_rate * (left / settings.cooldown_steps if is_cooling else 1)
    progress = (step - warmup) / max(1, settings.steps - warmup)
    return settings.learning_rate * (1 + math.cos(math.pi * progress)) / 2


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of every parameter group, in place."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["rate_share"]
