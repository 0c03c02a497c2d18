"""Contrastive losses, with and without knowledge of proposal groups, whose rows share a caption.

A loss takes normalised features and gives a dict of `*_loss` entries, which the loop sums. Its `group_ids` are (b,), or
(b, k) where rows are of a group when any of their k ids is equal. A new loss is one function and one entry of `LOSSES`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from hubbleclip.core.errors import TrainingError

Compute = Callable[[Tensor, Tensor, Tensor, Tensor | None, Tensor], dict[str, Tensor]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """A registered loss. `starts_at` gives the (scale, bias) of a loss with a bias from the batch size, for a model
    without one.
    """

    compute: Compute
    starts_at: Callable[[int], tuple[float, float]] | None = None


def info_nce(
    image_bd: Tensor, text_bd: Tensor, scale: Tensor, bias: Tensor | None, group_ids: Tensor
) -> dict[str, Tensor]:
    """Symmetric InfoNCE with the diagonal as the one positive (CLIP, arXiv 2103.00020, figure 3). In nats, at least 0.

    `scale` is exp(logit_scale). Other rows of a group are negatives, as in CLIP: for comparison, see `multi_positive`.
    """
    return {"info_nce_loss": _symmetric(_logits(image_bd, text_bd, scale, bias))}


def info_nce_masked(
    image_bd: Tensor, text_bd: Tensor, scale: Tensor, bias: Tensor | None, group_ids: Tensor
) -> dict[str, Tensor]:
    """InfoNCE without the other rows of the group in its sums: no positives, and no negatives either."""
    logits_bb = _logits(image_bd, text_bd, scale, bias).masked_fill(_others_of_group(group_ids), -torch.inf)
    return {"info_nce_masked_loss": _symmetric(logits_bb)}


def siglip(
    image_bd: Tensor, text_bd: Tensor, scale: Tensor, bias: Tensor | None, group_ids: Tensor
) -> dict[str, Tensor]:
    """Pairwise sigmoid loss, a binary question a pair (SigLIP, arXiv 2303.15343, algorithm 1), summed and over b.

    Pairs of one group off the diagonal are negatives, as there: for comparison, see `siglip_masked`.
    """
    return {"siglip_loss": _sigmoid_costs(_logits(image_bd, text_bd, scale, bias)).sum() / len(image_bd)}


def siglip_masked(
    image_bd: Tensor, text_bd: Tensor, scale: Tensor, bias: Tensor | None, group_ids: Tensor
) -> dict[str, Tensor]:
    """SigLIP without pairs of one group off the diagonal: they are no negatives, and would outnumber the true pairs."""
    cost_bb = _sigmoid_costs(_logits(image_bd, text_bd, scale, bias))
    return {"siglip_masked_loss": cost_bb.masked_fill(_others_of_group(group_ids), 0.0).sum() / len(cost_bb)}


def multi_positive(
    image_bd: Tensor, text_bd: Tensor, scale: Tensor, bias: Tensor | None, group_ids: Tensor
) -> dict[str, Tensor]:
    """Symmetric cross-entropy against soft targets, equal over the rows of the group (SupCon, arXiv 2004.11362, eq. 2).

    With one row a group it is InfoNCE; with n rows its floor is log(n), not 0.
    """
    logits_bb = _logits(image_bd, text_bd, scale, bias)
    same_bb = _same_group(group_ids).to(logits_bb.dtype)
    target_bb = same_bb / same_bb.sum(dim=1, keepdim=True)
    to_text, to_image = F.cross_entropy(logits_bb, target_bb), F.cross_entropy(logits_bb.T, target_bb)
    return {"multi_positive_loss": (to_text + to_image) / 2}


def rare_positives(batch_size: int) -> tuple[float, float]:
    """Scale 10, and the bias log(1 / (b - 1)), by which one in b pairs of unrelated features passes for a positive."""
    return 10.0, -math.log(batch_size - 1)


LOSSES = {
    "info_nce": Loss(compute=info_nce),
    "info_nce_masked": Loss(compute=info_nce_masked),
    "multi_positive": Loss(compute=multi_positive),
    "siglip": Loss(compute=siglip, starts_at=rare_positives),
    "siglip_masked": Loss(compute=siglip_masked, starts_at=rare_positives),
}


def loss_named(name: str) -> Loss:
    """The registered loss. Raises TrainingError that lists the known ones."""
    if name not in LOSSES:
        raise TrainingError(f"no loss {name!r}: set train.loss to one of {', '.join(sorted(LOSSES))}")
    return LOSSES[name]


def _logits(image_bd: Tensor, text_bd: Tensor, scale: Tensor, bias: Tensor | None) -> Tensor:
    logits_bb = scale * image_bd.float() @ text_bd.float().T
    return logits_bb if bias is None else logits_bb + bias


def _symmetric(logits_bb: Tensor) -> Tensor:
    target_b = torch.arange(len(logits_bb), device=logits_bb.device)
    return (F.cross_entropy(logits_bb, target_b) + F.cross_entropy(logits_bb.T, target_b)) / 2


def _sigmoid_costs(logits_bb: Tensor) -> Tensor:
    return -F.logsigmoid((2 * torch.eye(len(logits_bb), device=logits_bb.device) - 1) * logits_bb)


def _same_group(group_ids: Tensor) -> Tensor:
    ids_bk = group_ids.reshape(len(group_ids), -1)
    return (ids_bk[:, None] == ids_bk[None, :]).any(dim=2)


def _others_of_group(group_ids: Tensor) -> Tensor:
    return _same_group(group_ids).fill_diagonal_(False)
