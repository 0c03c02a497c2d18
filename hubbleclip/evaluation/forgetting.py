"""Measure what a model forgets by fine-tuning: its zero-shot accuracy on images of another domain.

The images are the handwritten digits in scikit-learn (8 x 8 px), which are a copy of the test set of UCI's "Optical
Recognition of Handwritten Digits". The prompt is the one that the repository of CLIP (arXiv 2103.00020) uses for MNIST.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from sklearn.datasets import load_digits

from hubbleclip.config.settings import EvaluationSettings
from hubbleclip.evaluation.features import embed_phrases
from hubbleclip.evaluation.metrics.bootstrap import draw_weights
from hubbleclip.evaluation.metrics.protocols import Estimate, Values, bootstrap_estimates
from hubbleclip.evaluation.metrics.retrieval import cosine_scores, hit_probability, rank_best_positives
from hubbleclip.training.models.builder import LoadedModel

FORGETTING = "forgetting"
NUM_DIGITS = 500
"""Number of digit images that are classified."""
MAX_DIGIT_LEVEL = 16
"""Largest pixel value of scikit-learn's digits."""
PROMPTS = ('a photo of the number: "{}".',)


def forgetting_estimates(models: Mapping[str, LoadedModel], settings: EvaluationSettings) -> list[Estimate]:
    """Estimate each model's zero-shot top-1 accuracy on handwritten digits; the bootstrap resamples the images.

    Parameters
    ----------
    models : mapping of str to LoadedModel
        Loaded models by scorer name.
    settings : EvaluationSettings
        Evaluation settings; only the batch size, the number of resamples and the seed are used.

    Returns
    -------
    list of Estimate
        One estimate `digits_top1` per model, in [0, 1]; the accuracy by chance is 0.1.

    """
    digits = load_digits()
    levels = torch.from_numpy(digits.images[:NUM_DIGITS] * (255 / MAX_DIGIT_LEVEL)).float()[:, None]  # (t, 1, 8, 8)
    is_positive_tk = digits.target[:NUM_DIGITS, None] == np.arange(10)
    group_t = np.arange(NUM_DIGITS)  # images are independent, so each image is a group of its own
    weights_bg = draw_weights(NUM_DIGITS, settings.bootstrap, settings.seed)
    estimates: list[Estimate] = []
    for name, loaded in models.items():
        size = (loaded.image_size, loaded.image_size)
        tiles = torch.nn.functional.interpolate(levels, size, mode="bilinear").round().to(torch.uint8)
        parts = [loaded.encode_images(batch) for batch in torch.split(tiles, settings.batch_size)]
        phrases_kd = embed_phrases(loaded, tuple(map(str, range(10))), PROMPTS, settings.batch_size)
        scores_tk = cosine_scores(torch.cat(parts).double().numpy(), phrases_kd)
        is_top_t = hit_probability(rank_best_positives(scores_tk, is_positive_tk), 1)
        values = Values(means={"digits_top1": is_top_t}, group_q=group_t)
        estimates += bootstrap_estimates(FORGETTING, name, values, weights_bg)
    return estimates
