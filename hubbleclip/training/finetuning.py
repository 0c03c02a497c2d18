"""What of a model is trained. A new mode is one function and one entry of `MODES`."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrize import register_parametrization

from hubbleclip.config.settings import TrainSettings
from hubbleclip.core.errors import TrainingError
from hubbleclip.training.models.builder import LoadedModel

IMAGE, TEXT = "image", "text"
BOTH = (IMAGE, TEXT)
LORA_SCALE = 2.0
"""Alpha over rank; constant, so that the learning rate need not change with the rank."""
HEAD_WIDTH = 1024
"""Hidden units of a head (PAPERCLIP, arXiv 2403.08851, section 4)."""
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
PROJECTION = re.compile(
    r"visual\.(proj$|head\.|attnpool\.c_proj)|(text\.)?text_projection|text\.proj\.|(image|text)_head\."
)

Mode = Callable[[LoadedModel, TrainSettings], Any]
"""Takes a model as it starts, gives the one that is trained; what stays frozen no longer asks for gradients."""


def tower_of(name: str) -> str | None:
    """Which tower the parameter or module of this name is of; None for scale and bias."""
    name = name.removeprefix("base.")
    if name.startswith("logit_"):
        return None
    return IMAGE if name.startswith(("visual.", "image_head.")) else TEXT


def is_projection(name: str) -> bool:
    """Whether the parameter of this name maps a tower's features into the common space."""
    return PROJECTION.match(name.removeprefix("base.")) is not None


class Headed(nn.Module):
    """A model with a two-layer perceptron behind each tower."""

    def __init__(self, base: Any) -> None:
        super().__init__()
        with torch.no_grad():
            width = base.encode_text(torch.zeros(1, base.context_length, dtype=torch.long)).shape[1]
        self.base = base
        self.image_head, self.text_head = (
            nn.Sequential(nn.Linear(width, HEAD_WIDTH), nn.GELU(), nn.Linear(HEAD_WIDTH, width)) for _ in BOTH
        )

    @property
    def logit_scale(self) -> nn.Parameter:
        """The base's own."""
        scale: nn.Parameter = self.base.logit_scale
        return scale

    @property
    def logit_bias(self) -> nn.Parameter | None:
        """The base's own."""
        bias: nn.Parameter | None = self.base.logit_bias
        return bias

    def encode_image(self, image: Tensor, normalize: bool = False) -> Tensor:
        """As open_clip's."""
        features: Tensor = self.image_head(self.base.encode_image(image))
        return F.normalize(features, dim=-1) if normalize else features

    def encode_text(self, text: Tensor, normalize: bool = False) -> Tensor:
        """As open_clip's."""
        features: Tensor = self.text_head(self.base.encode_text(text))
        return F.normalize(features, dim=-1) if normalize else features

    def forward(self, image: Tensor, text: Tensor) -> tuple[Tensor, ...]:
        """As open_clip's: normalised features, exp(logit_scale), and the bias where there is one."""
        pair = self.encode_image(image, normalize=True), self.encode_text(text, normalize=True)
        bias = () if self.logit_bias is None else (self.logit_bias,)
        return (*pair, self.logit_scale.exp(), *bias)


def _locked(loaded: LoadedModel, _: TrainSettings, *, towers: tuple[str, ...]) -> Any:
    """These towers stay as they are but for their projections (LiT, arXiv 2111.07991)."""
    for name, parameter in loaded.model.named_parameters():
        if tower_of(name) in towers and not is_projection(name):
            parameter.requires_grad_(False)
    return loaded.model


def _head(loaded: LoadedModel, settings: TrainSettings) -> Any:
    """A perceptron behind each frozen tower. Projections of towers that never were a pair belong to it."""
    for name, parameter in _locked(loaded, settings, towers=BOTH).named_parameters():
        if is_projection(name) and loaded.is_pair:
            parameter.requires_grad_(False)
    return Headed(loaded.model)


class LowRank(nn.Module):
    """A weight plus a product of two thin matrices that is zero at first (LoRA, arXiv 2106.09685, section 4.1)."""

    def __init__(self, weight: Tensor, rank: int) -> None:
        super().__init__()
        self.down = nn.Parameter(torch.empty(rank, weight[0].numel()))
        self.up = nn.Parameter(torch.zeros(len(weight), rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, weight: Tensor) -> Tensor:
        """The changed weight, in its own shape."""
        return weight + LORA_SCALE * (self.up @ self.down).view_as(weight)


def _lora(loaded: LoadedModel, settings: TrainSettings, *, towers: tuple[str, ...]) -> Any:
    """Low-rank changes of these towers' linear maps, pointwise convolutions and attention. Projections, scale and bias
    are trained as they are, all else is frozen.
    """
    model = _locked(loaded, settings, towers=BOTH)
    for name, module in list(model.named_modules()):
        weight = "in_proj_weight" if isinstance(module, nn.MultiheadAttention) else "weight"
        if tower_of(name) in towers and not is_projection(f"{name}.") and _is_map(module):
            change = LowRank(getattr(module, weight), settings.lora_rank)
            register_parametrization(module, weight, change)
    return model


def _is_map(module: nn.Module) -> bool:
    is_pointwise = isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1) and module.groups == 1
    return is_pointwise or isinstance(module, nn.Linear | nn.MultiheadAttention)


MODES: dict[str, Mode] = {
    "full": partial(_locked, towers=()),
    "head": _head,
    "linear": partial(_locked, towers=BOTH),
    "locked_image": partial(_locked, towers=(IMAGE,)),
    "locked_text": partial(_locked, towers=(TEXT,)),
    "lora": partial(_lora, towers=BOTH),
    "lora_image": partial(_lora, towers=(IMAGE,)),
    "lora_text": partial(_lora, towers=(TEXT,)),
}


def prepare(loaded: LoadedModel, settings: TrainSettings) -> LoadedModel:
    """The model as its mode trains it; new weights come from the seed. Raises TrainingError for an unknown mode."""
    if settings.mode not in MODES:
        raise TrainingError(f"no mode {settings.mode!r}: set train.mode to one of {', '.join(sorted(MODES))}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        model = MODES[settings.mode](loaded, settings)
    if settings.frozen_norms:
        for norm in _batch_norms(model):
            norm.requires_grad_(False)
    return replace(loaded, model=model)


def frozen_parts(model: nn.Module) -> list[nn.Module]:
    """Parts without a trained weight. They stand as in evaluation while the rest trains: no dropout, and batch norms
    hold their statistics.
    """
    trains = {module: [parameter.requires_grad for parameter in module.parameters()] for module in model.modules()}
    return [module for module, trained in trains.items() if trained and not any(trained)]


def has_training_norms(model: nn.Module) -> bool:
    """Whether batch norms would take their statistics from the batch."""
    frozen = set(frozen_parts(model))
    return any(norm not in frozen for norm in _batch_norms(model))


def _batch_norms(model: nn.Module) -> Iterator[nn.Module]:
    return (module for module in model.modules() if isinstance(module, BATCH_NORMS))
