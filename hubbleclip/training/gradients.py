"""The gradients of one batch: features of all rows, one loss over them, and back, whole or in pieces."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from hubbleclip.training.distributed import World
from hubbleclip.training.losses import Loss

Features = tuple[Tensor, ...]
"""Normalised image and text features (b, d), exp(logit_scale), and the bias where there is one."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Contrast:
    """How rows become a loss. `wrapped` is `model` as it is trained: compiled, or one of many processes."""

    model: nn.Module
    wrapped: Any
    loss: Loss
    world: World
    is_bf16: bool

    def backward(self, images: Tensor, tokens: Tensor, group_ids: Tensor, seed: int, rows: int) -> dict[str, Tensor]:
        """Entries of the loss over the whole batch, their gradients added to the parameters'; `rows` go through the
        model at once, 0 for all. In pieces the features come first, without a graph; their gradients then go through
        each piece in turn, which gives those of the whole batch (GradCache, arXiv 2101.06983).
        """
        rows = rows or len(images)
        pieces = list(zip(torch.split(images, rows), torch.split(tokens, rows), strict=True))
        if len(pieces) > 1:
            return self._backward_in_pieces(pieces, group_ids, seed)
        return self._backward(self._features(self.wrapped, *pieces[0], seed), group_ids)

    def _backward_in_pieces(
        self, pieces: Sequence[tuple[Tensor, Tensor]], group_ids: Tensor, seed: int
    ) -> dict[str, Tensor]:
        with torch.no_grad():
            parts = [self._features(self.model, *piece, seed + k) for k, piece in enumerate(pieces)]
        pair = (torch.cat([part[side] for part in parts]) for side in (0, 1))
        whole = tuple(part.detach().requires_grad_() for part in (*pair, *parts[0][2:]))
        entries = self._backward(whole, group_ids)
        wanted = [part.grad for part in whole]
        of_pieces = zip(*(torch.split(grad, len(pieces[0][0])) for grad in wanted[:2] if grad is not None), strict=True)
        for k, (piece, grads) in enumerate(zip(pieces, of_pieces, strict=True)):
            is_last = k == len(pieces) - 1
            with nullcontext() if is_last else self._no_sync():
                features = self._features(self.wrapped, *piece, seed + k)
                pairs = zip(features, [*grads, *(wanted[2:] if is_last else [])], strict=False)
                asked = [(feature, grad) for feature, grad in pairs if feature.requires_grad]
                torch.autograd.backward([feature for feature, _ in asked], [grad for _, grad in asked])
        return entries

    def _backward(self, features: Features, group_ids: Tensor) -> dict[str, Tensor]:
        image_bd, text_bd, scale, *bias = features
        image_bd, text_bd, group_ids = (self.world.gather(part) for part in (image_bd, text_bd, group_ids))
        entries = self.loss.compute(image_bd, text_bd, scale, bias[0] if bias else None, group_ids)
        torch.stack(list(entries.values())).sum().backward()  # type: ignore[no-untyped-call]
        return entries

    def _features(self, model: Any, images: Tensor, tokens: Tensor, seed: int) -> Features:
        """Seeded, so that a piece has the same dropout both times."""
        torch.manual_seed(seed)
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.is_bf16):
            features = model(images, tokens)
        return tuple(part.float() for part in features)

    def _no_sync(self) -> AbstractContextManager[None]:
        """Processes exchange gradients with the last piece only."""
        synced: AbstractContextManager[None] = self.wrapped.no_sync() if self.world.size > 1 else nullcontext()
        return synced
