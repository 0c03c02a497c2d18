"""Contrastive losses. Some of them use groups of rows; all rows of a group share a caption.

A loss returns a dict of loss terms, and training minimises their sum. Group ids have shape (b,) or (b, k). With k ids
per row, two rows belong to the same group if their ids are equal in at least one of the k columns. A new loss is one
function and one entry of `LOSSES`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from hubbleclip.core.errors import TrainingError


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pairs:
    """All image-text pairs of a batch: cosine similarities (b, b), exp(logit_scale), logit bias and group ids."""

    similarity_bb: Tensor
    scale: Tensor
    bias: Tensor | None
    group_ids: Tensor

    @classmethod
    def of_features(
        cls, image_bd: Tensor, text_bd: Tensor, scale: Tensor, bias: Tensor | None, group_ids: Tensor
    ) -> Pairs:
        """Compute the similarities of L2-normalised features."""
        # in float32 even under autocast, because bfloat16 logits near 100 are 0.5 apart
        similarity_bb = image_bd.float() @ text_bd.float().T
        return cls(similarity_bb=similarity_bb, scale=scale, bias=bias, group_ids=group_ids)

    @property
    def logits_bb(self) -> Tensor:
        """The scaled similarities plus the bias."""
        logits_bb = self.scale * self.similarity_bb
        return logits_bb if self.bias is None else logits_bb + self.bias


Compute = Callable[[Pairs], dict[str, Tensor]]
"""Function that returns the loss terms of a batch by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """A registered loss.

    `compute` returns the loss terms of a batch. `initial_scale_and_bias` is None for a loss that needs no logit bias.
    Otherwise it maps a batch size to the initial exp(logit_scale) and logit bias of a model that has no bias yet.
    """

    compute: Compute
    initial_scale_and_bias: Callable[[int], tuple[float, float]] | None = None


def info_nce(pairs: Pairs) -> dict[str, Tensor]:
    """Symmetric InfoNCE loss, in which only an image and its own text (the diagonal) are a positive pair.

    The formula is that of CLIP, arXiv 2103.00020, figure 3. An image and the text of another row of its group count as
    negatives, as in CLIP; `multi_positive` counts them as positives.
    """
    return {"info_nce_loss": _symmetric_cross_entropy(pairs.logits_bb)}


def info_nce_masked(pairs: Pairs) -> dict[str, Tensor]:
    """InfoNCE loss that ignores different rows of one group: they are neither positives nor negatives."""
    logits_bb = pairs.logits_bb.masked_fill(
        _other_rows_of_group(pairs.group_ids), -torch.inf
    )  # exp(-inf) = 0 in the softmax
    return {"info_nce_masked_loss": _symmetric_cross_entropy(logits_bb)}


def siglip(pairs: Pairs) -> dict[str, Tensor]:
    """Pairwise sigmoid loss: each image-text pair of the batch is a binary classification.

    The formula is that of SigLIP, arXiv 2303.15343, algorithm 1. An image and the text of another row of its
    group count as negatives; `siglip_masked` ignores such pairs.
    """
    loss_bb = _pairwise_sigmoid_loss(pairs.logits_bb)
    return {"siglip_loss": loss_bb.sum() / len(loss_bb)}


def siglip_masked(pairs: Pairs) -> dict[str, Tensor]:
    """SigLIP loss that ignores different rows of one group: they are neither positives nor negatives."""
    loss_bb = _pairwise_sigmoid_loss(pairs.logits_bb)
    return {"siglip_masked_loss": loss_bb.masked_fill(_other_rows_of_group(pairs.group_ids), 0.0).sum() / len(loss_bb)}


def multi_positive(pairs: Pairs) -> dict[str, Tensor]:
    """Symmetric cross-entropy loss whose targets give equal probability to all rows of a group.

    The formula is that of SupCon, arXiv 2004.11362, equation 2. With one row per group the loss equals
    InfoNCE; with n rows per group its minimum is log(n).
    """
    logits_bb = pairs.logits_bb
    same_bb = _same_group(pairs.group_ids).to(logits_bb.dtype)
    target_bb = same_bb / same_bb.sum(dim=1, keepdim=True)  # each row sums to 1; the diagonal is never 0
    to_text, to_image = F.cross_entropy(logits_bb, target_bb), F.cross_entropy(logits_bb.T, target_bb)
    return {"multi_positive_loss": (to_text + to_image) / 2}


def sigmoid_start(batch_size: int) -> tuple[float, float]:
    """Compute the initial scale and bias of the sigmoid losses."""
    return 10.0, -math.log(batch_size - 1)


LOSSES = {
    "info_nce": Loss(compute=info_nce),
    "info_nce_masked": Loss(compute=info_nce_masked),
    "multi_positive": Loss(compute=multi_positive),
    "siglip": Loss(compute=siglip, initial_scale_and_bias=sigmoid_start),
    "siglip_masked": Loss(compute=siglip_masked, initial_scale_and_bias=sigmoid_start),
}


def get_loss(name: str) -> Loss:
    """Look up a registered loss."""
    if name not in LOSSES:
        raise TrainingError(f"unknown loss {name!r}: set train.loss to one of {', '.join(sorted(LOSSES))}")
    return LOSSES[name]


def _symmetric_cross_entropy(logits_bb: Tensor) -> Tensor:
    """Compute the mean of the image-to-text and text-to-image cross-entropies, with the diagonal as target."""
    target_b = torch.arange(len(logits_bb), device=logits_bb.device)
    return (F.cross_entropy(logits_bb, target_b) + F.cross_entropy(logits_bb.T, target_b)) / 2


def _pairwise_sigmoid_loss(logits_bb: Tensor) -> Tensor:
    """Compute the negative log-likelihood (b, b) of each pair; the diagonal pairs are positive, all others negative."""
    sign_bb = 2 * torch.eye(len(logits_bb), device=logits_bb.device) - 1  # +1 on the diagonal, -1 elsewhere
    return -F.logsigmoid(sign_bb * logits_bb)


def _same_group(group_ids: Tensor) -> Tensor:
    """Return a boolean matrix (b, b): whether two rows belong to the same group."""
    ids_bk = group_ids.reshape(len(group_ids), -1)  # (b,) becomes (b, 1)
    return (ids_bk[:, None] == ids_bk[None, :]).any(dim=2)


def _other_rows_of_group(group_ids: Tensor) -> Tensor:
    """Return a boolean matrix (b, b): whether two different rows belong to the same group."""
    return _same_group(group_ids).fill_diagonal_(False)
