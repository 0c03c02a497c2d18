"""Interpolate between initial and fine-tuned weights, to keep more of the initial model's zero-shot accuracy.

The method is that of Wortsman et al., "Robust fine-tuning of zero-shot models" (WiSE-FT, arXiv 2109.01903).
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
"""Weights by name."""


def interpolate(initial: State, trained: State, alpha: float) -> dict[str, Tensor]:
    """Interpolate weights: `(1 - alpha) * initial + alpha * trained`."""
    return {
        name: initial[name].lerp(weight, alpha) if weight.is_floating_point() else weight
        for name, weight in trained.items()
    }


def select_best_mixture(trainer: Trainer, initial_model: LoadedModel) -> None:
    """Score interpolations between the initial model and the best checkpoint on val, and write the best."""
    # the weights are cloned, because load_state_dict below overwrites them in place
    initial = {name: weight.clone() for name, weight in initial_model.model.state_dict().items()}
    initial_model.model.to(trainer.world.device)
    trained = checkpoints.read_checkpoint(trainer.run_dir, trainer.best_step)["state_dict"]
    scores: dict[float, float] = {}
    for alpha in sorted(trainer.settings.wise_alphas):
        initial_model.model.load_state_dict(interpolate(initial, trained, alpha))
        scores[alpha] = validate(initial_model, trainer.val, trainer.gradients.loss)["val_accuracy_10"]
        log.info("WiSE-FT: alpha %.3g, val accuracy %.4g", alpha, scores[alpha])
    # max returns the first of equal scores, which has the smallest alpha
    best = max(scores, key=lambda alpha: scores[alpha])
    checkpoints.write_mixture(trainer.run_dir, interpolate(initial, trained, best))
    checkpoints.write_best(trainer.run_dir, trainer.best_step, scores[best], alpha_scores=scores, alpha=best)
