"""Contrastive losses, with and without knowledge of proposal groups, whose rows share a caption.

A loss returns a dict of `*_loss` entries, which the training loop sums. Group ids are (b,), or (b, k) where two rows
are of one group if any of their k ids are equal. A new loss is one function and one entry of `LOSSES`.
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
    """A registered loss.

    `initial_scale_and_bias` returns exp(logit_scale) and logit bias for a batch size; it is set for losses that need a
    bias, and used when the model has none.
    """

    compute: Compute
    initial_scale_and_bias: Callable[[int], tuple[float, float]] | None = None


def info_nce(
    image_bd: Tensor, text_bd: Tensor, scale: Tensor, bias: Tensor | None, group_ids: Tensor
) -> dict[str, Tensor]:
    """Symmetric InfoNCE with the diagonal as the only positives.

    Parameters
    ----------
    image_bd
        Image features (b, d) of length 1.
    text_bd
        Text features (b, d) of length 1, row by row of the same pairs.
    scale
        exp(logit_scale), a factor on the cosine similarities.
    bias
        Added to the logits; None if the model has none.
    group_ids
        Unused.

    Returns
    -------
    dict[str, Tensor]
        `info_nce_loss` in nats, at least 0.

    Notes
    -----
    CLIP, arXiv 2103.00020, figure 3. Other rows of a group count as negatives, as in CLIP; see `multi_positive`.

    """
    return {"info_nce_loss": _symmetric_cross_entropy(_logits(image_bd, text_bd, scale, bias))}


def info_nce_masked(
    image_bd: Tensor, text_bd: Tensor, scale: Tensor, bias: Tensor | None, group_ids: Tensor
) -> dict[str, Tensor]:
    """InfoNCE in which other rows of the same group are neither positives nor negatives.

    Parameters
    ----------
    image_bd
        Image features (b, d) of length 1.
    text_bd
        Text features (b, d) of length 1, row by row of the same pairs.
    scale
        exp(logit_scale), a factor on the cosine similarities.
    bias
        Added to the logits; None if the model has none.
    group_ids
        Caption groups (b,) or (b, k).

    Returns
    -------
    dict[str, Tensor]
        `info_nce_masked_loss` in nats, at least 0.

    """
    logits_bb = _logits(image_bd, text_bd, scale, bias)
    logits_bb = logits_bb.masked_fill(_other_rows_of_group(group_ids), -torch.inf)  # exp(-inf) = 0 in the softmax
    return {"info_nce_masked_loss": _symmetric_cross_entropy(logits_bb)}


def siglip(
    image_bd: Tensor, text_bd: Tensor, scale: Tensor, bias: Tensor | None, group_ids: Tensor
) -> dict[str, Tensor]:
    """Pairwise sigmoid loss: each pair of the batch is a binary classification.

    Parameters
    ----------
    image_bd
        Image features (b, d) of length 1.
    text_bd
        Text features (b, d) of length 1, row by row of the same pairs.
    scale
        exp(logit_scale), a factor on the cosine similarities.
    bias
        Added to the logits; None if the model has none.
    group_ids
        Unused.

    Returns
    -------
    dict[str, Tensor]
        `siglip_loss`: sum over all pairs divided by b.

    Notes
    -----
    SigLIP, arXiv 2303.15343, algorithm 1. Pairs of one group off the diagonal count as negatives; see `siglip_masked`.

    """
    return {"siglip_loss": _pairwise_sigmoid_loss(_logits(image_bd, text_bd, scale, bias)).sum() / len(image_bd)}


def siglip_masked(
    image_bd: Tensor, text_bd: Tensor, scale: Tensor, bias: Tensor | None, group_ids: Tensor
) -> dict[str, Tensor]:
    """SigLIP without the off-diagonal pairs of one group, which are not negatives.

    Parameters
    ----------
    image_bd
        Image features (b, d) of length 1.
    text_bd
        Text features (b, d) of length 1, row by row of the same pairs.
    scale
        exp(logit_scale), a factor on the cosine similarities.
    bias
        Added to the logits; None if the model has none.
    group_ids
        Caption groups (b,) or (b, k).

    Returns
    -------
    dict[str, Tensor]
        `siglip_masked_loss`: sum over the remaining pairs divided by b.

    """
    loss_bb = _pairwise_sigmoid_loss(_logits(image_bd, text_bd, scale, bias))
    return {"siglip_masked_loss": loss_bb.masked_fill(_other_rows_of_group(group_ids), 0.0).sum() / len(loss_bb)}


def multi_positive(
    image_bd: Tensor, text_bd: Tensor, scale: Tensor, bias: Tensor | None, group_ids: Tensor
) -> dict[str, Tensor]:
    """Symmetric cross-entropy against targets that are equal over all rows of the group.

    Parameters
    ----------
    image_bd
        Image features (b, d) of length 1.
    text_bd
        Text features (b, d) of length 1, row by row of the same pairs.
    scale
        exp(logit_scale), a factor on the cosine similarities.
    bias
        Added to the logits; None if the model has none.
    group_ids
        Caption groups (b,) or (b, k).

    Returns
    -------
    dict[str, Tensor]
        `multi_positive_loss` in nats.

    Notes
    -----
    SupCon, arXiv 2004.11362, equation 2. With one row per group it equals InfoNCE; with n rows its minimum is log(n).

    """
    logits_bb = _logits(image_bd, text_bd, scale, bias)
    same_bb = _same_group(group_ids).to(logits_bb.dtype)
    target_bb = same_bb / same_bb.sum(dim=1, keepdim=True)  # rows sum to 1; the diagonal is never 0
    to_text, to_image = F.cross_entropy(logits_bb, target_bb), F.cross_entropy(logits_bb.T, target_bb)
    return {"multi_positive_loss": (to_text + to_image) / 2}


def sigmoid_start(batch_size: int) -> tuple[float, float]:
    """Initial scale and bias of the sigmoid losses.

    Parameters
    ----------
    batch_size
        Rows b of the whole batch.

    Returns
    -------
    tuple[float, float]
        Scale 10, and the bias log(1 / (b - 1)) at which unrelated features give one expected positive per row.

    """
    return 10.0, -math.log(batch_size - 1)


LOSSES = {
    "info_nce": Loss(compute=info_nce),
    "info_nce_masked": Loss(compute=info_nce_masked),
    "multi_positive": Loss(compute=multi_positive),
    "siglip": Loss(compute=siglip, initial_scale_and_bias=sigmoid_start),
    "siglip_masked": Loss(compute=siglip_masked, initial_scale_and_bias=sigmoid_start),
}


def get_loss(name: str) -> Loss:
    """Look up a registered loss.

    Parameters
    ----------
    name
        A key of `LOSSES`.

    Returns
    -------
    Loss
        The loss.

    Raises
    ------
    TrainingError
        The name is unknown; the message lists the known ones.

    """
    if name not in LOSSES:
        raise TrainingError(f"unknown loss {name!r}: set train.loss to one of {', '.join(sorted(LOSSES))}")
    return LOSSES[name]


def _logits(image_bd: Tensor, text_bd: Tensor, scale: Tensor, bias: Tensor | None) -> Tensor:
    """Scaled cosine similarities (b, b), image by text."""
    # float32 even under autocast: bfloat16 resolves a logit of 100 to 0.5 only
    logits_bb = scale * image_bd.float() @ text_bd.float().T
    return logits_bb if bias is None else logits_bb + bias


def _symmetric_cross_entropy(logits_bb: Tensor) -> Tensor:
    """Mean cross-entropy with the diagonal as target, image to text and text to image."""
    target_b = torch.arange(len(logits_bb), device=logits_bb.device)
    return (F.cross_entropy(logits_bb, target_b) + F.cross_entropy(logits_bb.T, target_b)) / 2


def _pairwise_sigmoid_loss(logits_bb: Tensor) -> Tensor:
    """Negative log-likelihood (b, b) of each pair as positive (diagonal) or negative."""
    sign_bb = 2 * torch.eye(len(logits_bb), device=logits_bb.device) - 1  # +1 on the diagonal, -1 elsewhere
    return -F.logsigmoid(sign_bb * logits_bb)


def _same_group(group_ids: Tensor) -> Tensor:
    """Which pairs of rows (b, b) share a group id."""
    ids_bk = group_ids.reshape(len(group_ids), -1)  # (b,) becomes (b, 1)
    return (ids_bk[:, None] == ids_bk[None, :]).any(dim=2)


def _other_rows_of_group(group_ids: Tensor) -> Tensor:
    """Which pairs of rows (b, b) share a group id, without the diagonal."""
    return _same_group(group_ids).fill_diagonal_(False)
