"""Keep a fine-tuned model near its base by a loss term: a distance between the two models' features of a batch.

A distance takes the features of the trained model and of its base, and returns a loss term. To add a distance,
write a function, add it to `DISTANCES`, and add its name to the values of the setting `train.distillation`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from hubbleclip.config.settings import TrainSettings
from hubbleclip.core.errors import TrainingError
from hubbleclip.training.models.builder import LoadedModel

Features = tuple[Tensor, ...]
"""L2-normalised image and text features (b, d), exp(logit_scale), and the logit bias if the model has one."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Distillation:
    """The model before training, and the loss term that keeps the trained model near it.

    `term` computes the weighted loss term from the features of the trained model and the features of `base`.
    """

    base: Any
    term: Callable[[Features, Features], Tensor]


def feature_distance(trained: Features, base: Features) -> Tensor:
    """Squared distance between the features of the trained model and of its base: mean over rows, sum over towers.

    Feature distillation of CLIP-KD, arXiv 2307.12732, section 3.2, on normalised features.
    """
    towers = zip(trained[:2], base[:2], strict=True)
    return torch.stack([((ours - theirs) ** 2).sum(1).mean() for ours, theirs in towers]).sum()


def logit_divergence(trained: Features, base: Features) -> Tensor:
    """Kullback-Leibler divergence D(base || trained) of the softmax over a batch, averaged over both directions.

    Contrastive relational distillation of CLIP-KD, arXiv 2307.12732, section 3.2.
    """
    ours_bb, theirs_bb = (scale * image_bd @ text_bd.T for image_bd, text_bd, scale, *_ in (trained, base))
    directions = [(ours_bb, theirs_bb), (ours_bb.T, theirs_bb.T)]
    divergences = [
        F.kl_div(ours.log_softmax(1), theirs.log_softmax(1), log_target=True, reduction="batchmean")
        for ours, theirs in directions
    ]
    return torch.stack(divergences).mean()


DISTANCES = {"features": feature_distance, "logits": logit_divergence}


def make_distillation(settings: TrainSettings, load_base: Callable[[], LoadedModel]) -> Distillation | None:
    """Prepare the distillation that the settings ask for; None if `distillation_weight` is 0."""
    if not settings.distillation_weight:
        return None
    base = load_base()
    if not base.has_aligned_towers:
        raise TrainingError(
            "train.distillation_weight needs a base whose towers were trained together: set model.pretrained to the "
            "weights of such a model, or train.distillation_weight to 0"
        )
    distance = DISTANCES[settings.distillation]
    return Distillation(
        base=base.model.eval().requires_grad_(False),
        term=lambda trained, before: settings.distillation_weight * distance(trained, before),
    )
