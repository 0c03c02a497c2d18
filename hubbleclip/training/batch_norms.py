"""Batch norms that use the mean and variance over all processes, as if one process had the whole batch."""

from __future__ import annotations

from types import MethodType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from hubbleclip.training.distributed import World

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


def share_statistics(model: nn.Module, world: World) -> nn.Module:
    """Make the batch norms of a model use the mean and variance over the batches of all processes."""
    if world.device.type == "cuda":
        from timm.layers.norm_act import convert_sync_batchnorm  # noqa: PLC0415 - a search does not need timm

        # torch's `convert_sync_batchnorm` would drop the activation function of timm's `BatchNormAct2d`
        converted: nn.Module = convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
        return converted
    for norm in model.modules():  # torch's SyncBatchNorm works on GPUs only
        if isinstance(norm, BATCH_NORMS):
            norm.forward = MethodType(lambda norm, x: _normalise(norm, x, world), norm)  # type: ignore[method-assign]
    return model


def _normalise(norm: Any, x: Tensor, world: World) -> Tensor:
    """Apply a batch norm to this process's part (b, c, ...) of the batch, and update the running statistics."""
    if not norm.training:
        normalised: Tensor = type(norm).forward(norm, x)
        return normalised
    axes, shape, levels = [0, *range(2, x.ndim)], [1, -1, *[1] * (x.ndim - 2)], x.float()
    mean_c = world.gather(levels.mean(axes)[None]).mean(0)
    centred = levels - mean_c.view(shape)
    variance_c = world.gather(centred.square().mean(axes)[None]).mean(0)
    with torch.no_grad():
        num = world.size * x.numel() / x.shape[1]
        norm.num_batches_tracked += 1
        norm.running_mean.lerp_(mean_c, norm.momentum)
        norm.running_var.lerp_(variance_c * num / (num - 1), norm.momentum)
    y: Tensor = centred * ((variance_c + norm.eps).rsqrt() * norm.weight).view(shape) + norm.bias.view(shape)
    # timm's `BatchNormAct2d` applies dropout and an activation function after the normalisation
    for part in ("drop", "act"):
        y = getattr(norm, part, nn.Identity())(y)
    return y.to(x.dtype)
