"""Linear heads on frozen towers, trained on features that were made once."""

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


class LinearHeads(nn.Module):
    """One linear map behind each frozen tower, and a scale of similarities that stays."""

    def __init__(self, image_width: int, text_width: int, scale: float) -> None:
        super().__init__()
        self.image_head, self.text_head = nn.Linear(image_width, EMBED_DIM), nn.Linear(text_width, EMBED_DIM)
        self.scale = torch.tensor(scale)

    def forward(self, image_nd: Tensor, text_ne: Tensor) -> Features:
        """Features of length 1, and the scale."""
        image, text = self.image_head(image_nd), self.text_head(text_ne)
        return F.normalize(image, dim=-1), F.normalize(text, dim=-1), self.scale


def train_heads(pairs: Pairs, settings: TrainSettings) -> LinearHeads:
    """Heads after gradient steps over all pairs, each seen in one of its views beside its caption, its title or a
    sentence.
    """
    rng = np.random.default_rng(settings.seed)
    views_nvd, group_n = torch.from_numpy(pairs.views_nvd), torch.from_numpy(pairs.group_n)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        heads = LinearHeads(views_nvd.shape[-1], pairs.caption_ne.shape[1], settings.fixed_scale)
        optimizer = make_optimizer(heads, settings)
        alone = World(rank=0, size=1, device=torch.device("cpu"))
        contrast = ContrastiveGradients(
            model=heads, wrapped=heads, loss=get_loss(settings.loss), world=alone, is_bf16=False
        )
        for step in range(settings.steps):
            set_learning_rate(optimizer, learning_rate(step, settings))
            shown = views_nvd[np.arange(len(views_nvd)), rng.integers(views_nvd.shape[1], size=len(views_nvd))]
            said = torch.from_numpy(_draw_texts(pairs, settings, rng))
            optimizer.zero_grad()
            contrast.backward(shown, said, group_n, settings.seed, micro_batch=0)
            optimizer.step()
    return heads


def _draw_texts(pairs: Pairs, settings: TrainSettings, rng: np.random.Generator) -> Floats:
    """For each picture the feature (n, e) of its caption, its title or one of its sentences."""
    which_n = rng.random(len(pairs.captions))
    drawn_ne = np.stack([pieces[rng.integers(len(pieces))] for pieces in pairs.pieces])
    is_title_n = which_n >= 1 - settings.other_caption_share
    drawn_ne[is_title_n] = pairs.title_ne[is_title_n]
    is_whole_n = which_n < settings.full_abstract_share
    drawn_ne[is_whole_n] = pairs.caption_ne[is_whole_n]
    return drawn_ne
