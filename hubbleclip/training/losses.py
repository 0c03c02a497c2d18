"""Contrastive losses. Some of them use groups of rows; all rows of a group share a caption.

A loss returns a dict of loss terms, and training minimises their sum. Group ids have shape (b,) or (b, k). With k ids
per row, two rows belong to the same group if their ids are equal in at least one of the k columns. To add a loss,
write a function and add it to `LOSSES`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from hubbleclip.core.id_prefixes import find_registered


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pairs:
    """Similarities of the rows `row_r` to all rows of a batch, with exp(logit_scale), logit bias and all group ids.

    `similarities_rb` has two matrices (r, b) of cosine similarities: the images of `row_r` with all texts, and the
    texts of `row_r` with all images. `row_r` holds the row indices of one process, or of the whole batch. The loss is
    the mean over `row_r`.
    """

    similarities_rb: tuple[Tensor, Tensor]
    scale: Tensor
    bias: Tensor | None
    group_ids: Tensor
    row_r: Tensor

    @classmethod
    def of_features(
        cls,
        image_bd: Tensor,
        text_bd: Tensor,
        scale: Tensor,
        bias: Tensor | None,
        group_ids: Tensor,
        *,
        row_r: Tensor | None = None,
    ) -> Pairs:
        """Compute the similarities of L2-normalised features; all rows are used if `row_r` is None."""
        # in float32 even under autocast, because bfloat16 logits near 100 are 0.5 apart
        image_bd, text_bd = image_bd.float(), text_bd.float()
        if row_r is None:
            to_text_bb = image_bd @ text_bd.T
            both, row_r = (to_text_bb, to_text_bb.T), torch.arange(len(image_bd), device=image_bd.device)
        else:
            both = image_bd[row_r] @ text_bd.T, text_bd[row_r] @ image_bd.T
        return cls(similarities_rb=both, scale=scale, bias=bias, group_ids=group_ids, row_r=row_r)

    @property
    def logits_rb(self) -> tuple[Tensor, Tensor]:
        """The scaled similarities plus the bias."""
        bias = 0.0 if self.bias is None else self.bias
        to_text_rb, to_image_rb = self.similarities_rb
        return self.scale * to_text_rb + bias, self.scale * to_image_rb + bias

    @property
    def is_own_rb(self) -> Tensor:
        """True where a row of `row_r` is compared with itself, (r, b)."""
        return self.row_r[:, None] == torch.arange(len(self.group_ids), device=self.row_r.device)

    @property
    def is_same_group_rb(self) -> Tensor:
        """True where a row of `row_r` is compared with a row of its own group, (r, b)."""
        ids_bk = self.group_ids.reshape(len(self.group_ids), -1)  # (b,) becomes (b, 1)
        return (ids_bk[self.row_r][:, None] == ids_bk[None, :]).any(dim=2)

    def without_group(self, logits_rb: Tensor, value: float) -> Tensor:
        """Replace the logits between a row and the other rows of its group by a value."""
        return logits_rb.masked_fill(self.is_same_group_rb & ~self.is_own_rb, value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """A registered loss.

    `compute` returns the loss terms of a batch by name. `initial_scale_and_bias` is None for a loss that needs no logit
    bias. Otherwise it maps a batch size to the initial exp(logit_scale) and logit bias of a model that has no bias yet.
    """

    compute: Callable[[Pairs], dict[str, Tensor]]
    initial_scale_and_bias: Callable[[int], tuple[float, float]] | None = None


def info_nce(pairs: Pairs) -> dict[str, Tensor]:
    """Symmetric InfoNCE loss, in which only an image and its own text are a positive pair.

    The formula is in figure 3 of CLIP, arXiv 2103.00020. An image and the text of another row are a negative pair, even
    if both rows belong to the same group; `multi_positive` counts such a pair as positive.
    """
    return {"info_nce_loss": _symmetric_cross_entropy(pairs.logits_rb, pairs.row_r)}


def info_nce_masked(pairs: Pairs) -> dict[str, Tensor]:
    """InfoNCE loss that ignores a pair of different rows of a group: the pair is neither positive nor negative."""
    logits_rb = [pairs.without_group(one, -torch.inf) for one in pairs.logits_rb]  # exp(-inf) = 0 in the softmax
    return {"info_nce_masked_loss": _symmetric_cross_entropy(logits_rb, pairs.row_r)}


def siglip(pairs: Pairs) -> dict[str, Tensor]:
    """Pairwise sigmoid loss: each image-text pair of the batch is a binary classification.

    The formula is algorithm 1 of SigLIP, arXiv 2303.15343. An image and the text of another row are a negative pair,
    even if both rows belong to the same group; `siglip_masked` ignores such a pair.
    """
    loss_rb = _pairwise_sigmoid_loss(pairs)
    return {"siglip_loss": loss_rb.sum() / len(loss_rb)}


def siglip_masked(pairs: Pairs) -> dict[str, Tensor]:
    """SigLIP loss that ignores a pair of different rows of a group: the pair is neither positive nor negative."""
    loss_rb = _pairwise_sigmoid_loss(pairs)
    return {"siglip_masked_loss": pairs.without_group(loss_rb, 0.0).sum() / len(loss_rb)}


def multi_positive(pairs: Pairs) -> dict[str, Tensor]:
    """Symmetric cross-entropy loss whose targets give equal probability to all rows of a group.

    The formula is equation 2 of SupCon, arXiv 2004.11362. With one row per group the loss equals InfoNCE. With n rows
    per group the minimum of the loss is log(n).
    """
    same_rb = pairs.is_same_group_rb.to(pairs.logits_rb[0].dtype)
    target_rb = same_rb / same_rb.sum(dim=1, keepdim=True)  # each row sums to 1; a row's own pair has a target > 0
    return {"multi_positive_loss": _symmetric_cross_entropy(pairs.logits_rb, target_rb)}


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
    return find_registered(LOSSES, name, "train.loss")


def _symmetric_cross_entropy(logits_rb: Sequence[Tensor], target: Tensor) -> Tensor:
    """Compute the mean of the cross-entropies of both directions; targets are column indices or probabilities."""
    to_text, to_image = (F.cross_entropy(one, target) for one in logits_rb)
    return (to_text + to_image) / 2


def _pairwise_sigmoid_loss(pairs: Pairs) -> Tensor:
    """Compute the negative log-likelihood (r, b) of each pair; only a row's own pair is positive."""
    sign_rb = 2.0 * pairs.is_own_rb - 1
    return -F.logsigmoid(sign_rb * pairs.logits_rb[0])
