"""Linear heads on frozen towers, trained on features that are computed once."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from experiments.pairs.frozen_features import Floats, Pairs
from hubbleclip.config.settings import TrainSettings
from hubbleclip.training.distributed import World
from hubbleclip.training.gradients import ContrastiveGradients, Features
from hubbleclip.training.losses import get_loss
from hubbleclip.training.optimizer import learning_rate, make_optimizer, set_learning_rate

EMBED_DIM = 256
"""Dimensions of the common space."""


class LinearHeads(nn.Module):
    """A linear layer on top of each frozen tower, with a constant scale of the cosine similarities."""

    def __init__(self, image_width: int, text_width: int, scale: float) -> None:
        super().__init__()
        self.image_head, self.text_head = nn.Linear(image_width, EMBED_DIM), nn.Linear(text_width, EMBED_DIM)
        self.scale = torch.tensor(scale)  # not a parameter: it is not trained

    def forward(self, image_nd: Tensor, text_ne: Tensor) -> Features:
        """Project features of both towers into the common space.

        Parameters
        ----------
        image_nd
            Features (n, d) of views of pictures.
        text_ne
            Features (n, e) of texts.

        Returns
        -------
        Features
            Image and text features (n, EMBED_DIM) of length 1, and the scale.

        """
        image, text = self.image_head(image_nd), self.text_head(text_ne)
        return F.normalize(image, dim=-1), F.normalize(text, dim=-1), self.scale


def train_heads(pairs: Pairs, settings: TrainSettings) -> LinearHeads:
    """Train heads by gradient steps over all pairs.

    In each step a picture is shown in one of its views, with its caption, its title or one of its sentences.

    Parameters
    ----------
    pairs
        The pairs to train on.
    settings
        Steps, learning rate, loss, `fixed_scale`, the shares of captions and titles, and the seed.

    Returns
    -------
    LinearHeads
        The trained heads, on the CPU.

    """
    rng = np.random.default_rng(settings.seed)
    views_nvd, group_n = torch.from_numpy(pairs.views_nvd), torch.from_numpy(pairs.group_n)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        heads = LinearHeads(views_nvd.shape[-1], pairs.caption_ne.shape[1], settings.fixed_scale)
        optimizer = make_optimizer(heads, settings)
        alone = World(rank=0, size=1, device=torch.device("cpu"))
        gradients = ContrastiveGradients(
            model=heads, wrapped=heads, loss=get_loss(settings.loss), world=alone, is_bf16=False
        )
        for step in range(settings.steps):
            set_learning_rate(optimizer, learning_rate(step, settings))
            image_nd = views_nvd[np.arange(len(views_nvd)), rng.integers(views_nvd.shape[1], size=len(views_nvd))]
            text_ne = torch.from_numpy(_draw_texts(pairs, settings, rng))
            optimizer.zero_grad()
            gradients.backward(image_nd, text_ne, group_n, settings.seed, micro_batch=0)
            optimizer.step()
    return heads


def _draw_texts(pairs: Pairs, settings: TrainSettings, rng: np.random.Generator) -> Floats:
    """Features (n, e) of a text of each picture: its caption, its title or one of its sentences."""
    share_n = rng.random(len(pairs.captions))  # one uniform draw decides: caption, sentence or title
    drawn_ne = np.stack([features_pe[rng.integers(len(features_pe))] for features_pe in pairs.sentences_pe])
    is_title_n = share_n >= 1 - settings.other_caption_share
    drawn_ne[is_title_n] = pairs.title_ne[is_title_n]
    is_whole_n = share_n < settings.full_abstract_share
    drawn_ne[is_whole_n] = pairs.caption_ne[is_whole_n]
    return drawn_ne
