"""What fine-tuning forgot: zero-shot on pictures of another kind, before and after.

The handwritten digits that scikit-learn ships (8 x 8 px, a copy of the test set of UCI's optical recognition of
handwritten digits), with the prompt that CLIP uses for MNIST (arXiv 2103.00020, its repository's prompts).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from sklearn.datasets import load_digits

from hubbleclip.config.settings import EvaluationSettings
from hubbleclip.evaluation.features import embed_phrases
from hubbleclip.evaluation.metrics.bootstrap import draw_weights
from hubbleclip.evaluation.metrics.protocols import Estimate, Values, estimates_of
from hubbleclip.evaluation.metrics.retrieval import cosine_scores, hit_probability, rank_positives
from hubbleclip.training.models.builder import LoadedModel

FORGETTING = "forgetting"
NUM_DIGITS = 500
BRIGHTEST = 16
PROMPTS = ('a photo of the number: "{}".',)


def forgetting_estimates(models: Mapping[str, LoadedModel], settings: EvaluationSettings) -> list[Estimate]:
    """How often the nearest of ten digits is the right one; the pictures are what is resampled."""
    digits = load_digits()
    levels = torch.from_numpy(digits.images[:NUM_DIGITS] * (255 / BRIGHTEST)).float()[:, None]
    is_of_tk = digits.target[:NUM_DIGITS, None] == np.arange(10)
    group_t = np.arange(NUM_DIGITS)
    weights_bg = draw_weights(NUM_DIGITS, settings.bootstrap, settings.seed)
    found: list[Estimate] = []
    for name, loaded in models.items():
        size = (loaded.image_size, loaded.image_size)
        tiles = torch.nn.functional.interpolate(levels, size, mode="bilinear").round().to(torch.uint8)
        parts = [loaded.encode_images(batch) for batch in torch.split(tiles, settings.batch_size)]
        phrases_kd = embed_phrases(loaded, tuple(map(str, range(10))), PROMPTS, settings.batch_size)
        scores_tk = cosine_scores(torch.cat(parts).double().numpy(), phrases_kd)
        right_t = hit_probability(rank_positives(scores_tk, is_of_tk), 1)
        values = Values(names=("digits_top1",), shares_qm=right_t[:, None], rank_name="", rank_q=right_t,
                        group_q=group_t)  # fmt: skip
        found += estimates_of(FORGETTING, name, values, weights_bg)
    return found
