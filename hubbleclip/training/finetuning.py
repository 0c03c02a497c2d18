"""Fine-tuning modes. A mode freezes parameters of a model, adds layers, or does both.

To add a mode, write a function and add it to `MODES`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrize import register_parametrization

from hubbleclip.config.model import TrainSettings
from hubbleclip.core.id_prefixes import find_registered
from hubbleclip.training.batch_norms import BATCH_NORMS
from hubbleclip.training.models.builder import LoadedModel

IMAGE, TEXT = "image", "text"
BOTH = (IMAGE, TEXT)
LORA_SCALE = 2.0
"""LoRA's alpha divided by its rank. The ratio is constant, so that one learning rate suits all ranks."""
HEAD_WIDTH = 1024
"""Hidden units of a perceptron head (PAPERCLIP, arXiv 2403.08851, section 4)."""
PROJECTION = re.compile(
    r"visual\.(proj$|head\.|attnpool\.c_proj|trunk\.(head|fc|classifier)\.(fc\.|(weight|bias)?$))|"
    r"(text\.)?text_projection|text\.proj\.|(image|text)_head\."
)
"""Matches the names of projections. In a timm tower without `visual.head`, the classifier is the projection."""
LAYER = re.compile(r"(?:resblocks|blocks|layers?|stages)\.?(\d+)\.")
"""Matches the names of numbered layers in open_clip, timm and Hugging Face."""

Mode = Callable[[LoadedModel, TrainSettings], Any]
"""Function that returns the model to train, with `requires_grad` False on every frozen parameter."""


def tower_of(name: str) -> str | None:
    """Return the tower (`IMAGE` or `TEXT`) of a parameter or module; None for logit scale and logit bias."""
    name = name.removeprefix("base.")
    if name.startswith("logit_"):
        return None
    return IMAGE if name.startswith(("visual.", "image_head.")) else TEXT


def is_projection(name: str) -> bool:
    """Test whether a parameter maps a tower's features into the common embedding space."""
    return PROJECTION.match(name.removeprefix("base.")) is not None


def layer_depths(names: Sequence[str]) -> dict[str, int]:
    """Return the depth of each parameter: 0 for stem and embeddings, and 1, 2, ... for the layers in order.

    Parameters after the last layer have the depth of the last layer plus 1.
    """
    numbers = {name: int(match[1]) for name in names if (match := LAYER.search(name))}
    # layers are numbered from 0, but from 1 in a ResNet
    depths = {number: depth for depth, number in enumerate(sorted(set(numbers.values())), 1)}
    layers = {name: depths[number] for name, number in numbers.items()}
    first = next((i for i, name in enumerate(names) if name in layers), 0)
    top = max(layers.values(), default=0) + 1
    # outside the layers, embeddings and parameters before the first layer have depth 0; all others have depth `top`
    rest = {name: top if i > first and "emb" not in name else 0 for i, name in enumerate(names) if name not in layers}
    return layers | rest


class ModelWithHeads(nn.Module):
    """A CLIP model with a two-layer perceptron on top of each tower."""

    def __init__(self, base: Any) -> None:
        super().__init__()
        # encode a dummy text to find the width of the features: text towers store it under different attribute names
        with torch.no_grad():
            width = base.encode_text(torch.zeros(1, base.context_length, dtype=torch.long)).shape[1]
        self.base = base
        self.image_head, self.text_head = (
            nn.Sequential(nn.Linear(width, HEAD_WIDTH), nn.GELU(), nn.Linear(HEAD_WIDTH, width)) for _ in BOTH
        )

    @property
    def logit_scale(self) -> nn.Parameter:
        """Logit scale of the base model: the logarithm of the factor by which similarities are multiplied."""
        scale: nn.Parameter = self.base.logit_scale
        return scale

    @property
    def logit_bias(self) -> nn.Parameter | None:
        """Logit bias of the base model; None if the base model has no bias."""
        bias: nn.Parameter | None = self.base.logit_bias
        return bias

    def encode_image(self, image: Tensor, normalize: bool = False) -> Tensor:
        """Encode images, with the same parameters as open_clip's `encode_image`."""
        features: Tensor = self.image_head(self.base.encode_image(image))
        return F.normalize(features, dim=-1) if normalize else features

    def encode_text(self, text: Tensor, normalize: bool = False) -> Tensor:
        """Encode texts, with the same parameters as open_clip's `encode_text`."""
        features: Tensor = self.text_head(self.base.encode_text(text))
        return F.normalize(features, dim=-1) if normalize else features

    def forward(self, image: Tensor, text: Tensor) -> tuple[Tensor, ...]:
        """Encode a batch of image-text pairs, with the same parameters as the `forward` of open_clip's models."""
        features = self.encode_image(image, normalize=True), self.encode_text(text, normalize=True)
        bias = () if self.logit_bias is None else (self.logit_bias,)
        return (*features, self.logit_scale.exp(), *bias)


def _freeze_towers(loaded: LoadedModel, settings: TrainSettings, *, towers: tuple[str, ...]) -> Any:
    """Freeze the given towers as in LiT (arXiv 2111.07991); projections and unlocked layers stay trainable."""
    unlocked = {IMAGE: settings.lock_image_unlocked_groups, TEXT: settings.lock_text_unlocked_layers}
    parameters = dict(loaded.model.named_parameters())
    for tower in towers:
        depths = layer_depths([name for name in parameters if tower_of(name) == tower and not is_projection(name)])
        top = max((depth for name, depth in depths.items() if LAYER.search(name)), default=0)
        for name, depth in depths.items():
            if not unlocked[tower] or depth <= top - unlocked[tower]:
                parameters[name].requires_grad_(False)
    return loaded.model


def _add_heads(loaded: LoadedModel, settings: TrainSettings) -> Any:
    """Freeze both towers and add a perceptron to each.

    If the towers were trained together, their projections are frozen too. Otherwise the projections are trained.
    """
    for name, parameter in _freeze_towers(loaded, settings, towers=BOTH).named_parameters():
        if is_projection(name) and loaded.has_aligned_towers:  # new projections must be trained
            parameter.requires_grad_(False)
    return ModelWithHeads(loaded.model)


class LowRankUpdate(nn.Module):
    """Adds a trained matrix of low rank to a frozen weight (LoRA, arXiv 2106.09685, section 4.1).

    The matrix is the product of two smaller matrices and is initially zero.
    """

    def __init__(self, weight: Tensor, rank: int) -> None:
        super().__init__()
        self.down = nn.Parameter(torch.empty(rank, weight[0].numel()))
        # zero, so that training starts from the unchanged weight
        self.up = nn.Parameter(torch.zeros(len(weight), rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, weight: Tensor) -> Tensor:
        """Add the low-rank update to a frozen weight."""
        return weight + LORA_SCALE * (self.up @ self.down).view_as(weight)


def is_down_factor(name: str) -> bool:
    """Test whether a weight is the `down` factor of a `LowRankUpdate`: the factor that is initially random."""
    return ".parametrizations." in name and name.endswith(".down")


def _add_lora(loaded: LoadedModel, settings: TrainSettings, *, towers: tuple[str, ...]) -> Any:
    """Add low-rank updates to the given towers' linear layers, pointwise convolutions and attention.

    Projections, logit scale and logit bias are trained in full; all other weights are frozen.
    """
    model = _freeze_towers(loaded, settings, towers=BOTH)
    for name, module in list(model.named_modules()):
        # torch's attention holds the weights of query, key and value in one matrix, `in_proj_weight`
        weight = "in_proj_weight" if isinstance(module, nn.MultiheadAttention) else "weight"
        if tower_of(name) in towers and not is_projection(f"{name}.") and _is_linear_layer(module):
            register_parametrization(module, weight, LowRankUpdate(getattr(module, weight), settings.lora_rank))
    return model


def _is_linear_layer(module: nn.Module) -> bool:
    """Return whether LoRA can update a module: a linear layer, attention, or a 1 x 1 convolution without groups."""
    is_pointwise = isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1) and module.groups == 1
    return is_pointwise or isinstance(module, nn.Linear | nn.MultiheadAttention)


MODES: dict[str, Mode] = {
    "full": partial(_freeze_towers, towers=()),
    "head": _add_heads,
    "linear": partial(_freeze_towers, towers=BOTH),
    "locked_image": partial(_freeze_towers, towers=(IMAGE,)),
    "locked_text": partial(_freeze_towers, towers=(TEXT,)),
    "lora": partial(_add_lora, towers=BOTH),
    "lora_image": partial(_add_lora, towers=(IMAGE,)),
    "lora_text": partial(_add_lora, towers=(TEXT,)),
}


def apply_mode(loaded: LoadedModel, settings: TrainSettings) -> LoadedModel:
    """Freeze parameters and add layers as the fine-tuning mode requires."""
    mode = find_registered(MODES, settings.mode, "train.mode")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        model = mode(loaded, settings)
    return replace(loaded, model=model)


def frozen_modules(model: nn.Module) -> list[nn.Module]:
    """List the modules that have parameters, but no trainable parameter; the trainer keeps them in evaluation mode."""
    flags = {module: [parameter.requires_grad for parameter in module.parameters()] for module in model.modules()}
    return [module for module, trainable in flags.items() if trainable and not any(trainable)]


def uses_batch_statistics(model: nn.Module) -> bool:
    """Test whether a batch norm of the model takes its statistics from the batch."""
    frozen = set(frozen_modules(model))
    return any(isinstance(module, BATCH_NORMS) and module not in frozen for module in model.modules())
