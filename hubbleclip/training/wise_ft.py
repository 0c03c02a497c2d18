"""Mixtures of the weights at the start and at the end: what a model learns without forgetting what it knew.

Wortsman et al., "Robust fine-tuning of zero-shot models" (WiSE-FT, arXiv 2109.01903).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from torch import Tensor

from hubbleclip.training import checkpoints
from hubbleclip.training.models.builder import LoadedModel
from hubbleclip.training.trainer import Trainer
from hubbleclip.training.validation import validate

log = logging.getLogger(__name__)

State = Mapping[str, Tensor]


def mix(start: State, trained: State, alpha: float) -> dict[str, Tensor]:
    """`(1 - alpha) * start + alpha * trained`, weight by weight; counters are the trained model's."""
    return {
        name: start[name].lerp(weight, alpha) if weight.is_floating_point() else weight
        for name, weight in trained.items()
    }


def keep_best_mixture(trainer: Trainer, start: LoadedModel) -> None:
    """Score each mixture of `start`, which is used up, and the best checkpoint on val, and keep the best; of equals the
    one that is nearest to the start.
    """
    before = {name: weight.clone() for name, weight in start.model.state_dict().items()}
    start.model.to(trainer.world.device)
    trained = checkpoints.read_checkpoint(trainer.run_dir, trainer.best_step)["state_dict"]
    scores: dict[float, float] = {}
    for alpha in sorted(trainer.settings.wise_alphas):
        start.model.load_state_dict(mix(before, trained, alpha))
        scores[alpha] = validate(start, trainer.val, trainer.contrast.loss)["val_accuracy_10"]
        log.info("mixture: %.3g of the trained weights, val accuracy %.4g", alpha, scores[alpha])
    best = max(scores, key=lambda alpha: scores[alpha])
    checkpoints.write_mixture(trainer.run_dir, mix(before, trained, best))
    checkpoints.write_best(trainer.run_dir, trainer.best_step, scores[best], alpha_scores=scores, alpha=best)
