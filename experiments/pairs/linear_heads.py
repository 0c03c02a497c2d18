"""Train linear heads on the features of frozen towers; the features are computed only once."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from experiments.pairs.frozen_features import Floats, Pairs
from hubbleclip.config.settings import TrainSettings
from hubbleclip.training.distillation import Features
from hubbleclip.training.distributed import World
from hubbleclip.training.gradients import ContrastiveGradients
from hubbleclip.training.losses import get_loss
from hubbleclip.training.optimizer import learning_rate, make_optimizer, set_learning_rate

EMBED_DIM = 256
"""Number of dimensions of the common space of image and text features."""
SCALE = 5.0
"""Constant factor by which the cosine similarities are multiplied; PAPERCLIP trained at 4.6."""
WHOLE_SHARE, TITLE_SHARE = 0.5, 0.2
"""Probabilities that the text of a picture is its whole caption, or its title, instead of one sentence."""


class LinearHeads(nn.Module):
    """A linear layer for each frozen tower, and a constant factor that scales the cosine similarities."""

    def __init__(self, image_width: int, text_width: int) -> None:
        super().__init__()
        self.image_head, self.text_head = nn.Linear(image_width, EMBED_DIM), nn.Linear(text_width, EMBED_DIM)
        self.scale = torch.tensor(SCALE)  # not an nn.Parameter, because the scale is not trained

    def forward(self, image_nd: Tensor, text_ne: Tensor) -> Features:
        """Project the features of both towers into the common space."""
        image, text = self.image_head(image_nd), self.text_head(text_ne)
        return F.normalize(image, dim=-1), F.normalize(text, dim=-1), self.scale


def train_heads(pairs: Pairs, settings: TrainSettings) -> LinearHeads:
    """Train linear heads by gradient descent; each step uses all pairs.

    Each step draws, for each picture, one of its views and one of its texts (the caption, the title or a single
    sentence) at random.
    """
    rng = np.random.default_rng(settings.seed)
    views_nvd, group_n = torch.from_numpy(pairs.views_nvd), torch.from_numpy(pairs.group_n)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        heads = LinearHeads(views_nvd.shape[-1], pairs.caption_ne.shape[1])
        optimizer = make_optimizer(heads, settings.model_copy(update={"beta2": 0.98}))
        alone = World(rank=0, size=1, device=torch.device("cpu"))
        gradients = ContrastiveGradients(wrapped=heads, loss=get_loss(settings.loss), world=alone, is_bf16=False)
        for step in range(settings.steps):
            set_learning_rate(optimizer, learning_rate(step, settings))
            image_nd = views_nvd[np.arange(len(views_nvd)), rng.integers(views_nvd.shape[1], size=len(views_nvd))]
            text_ne = torch.from_numpy(_draw_texts(pairs, rng))
            optimizer.zero_grad()
            gradients.backward(image_nd, text_ne, group_n, (settings.seed, step), micro_batch=0)
            optimizer.step()
    return heads


def _draw_texts(pairs: Pairs, rng: np.random.Generator) -> Floats:
    """Draw a text for each picture (its caption, its title or one of its sentences); return the features (n, e)."""
    share_n = rng.random(len(pairs.captions))  # one uniform draw per picture selects caption, sentence or title
    drawn_ne = np.stack([features_pe[rng.integers(len(features_pe))] for features_pe in pairs.sentences_pe])
    is_title_n = share_n >= 1 - TITLE_SHARE
    drawn_ne[is_title_n] = pairs.title_ne[is_title_n]
    is_whole_n = share_n < WHOLE_SHARE
    drawn_ne[is_whole_n] = pairs.caption_ne[is_whole_n]
    return drawn_ne
