"""Compute the gradients of a contrastive loss over one batch, at once or in micro-batches."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hubbleclip.training.distillation import Distillation, Features
from hubbleclip.training.distributed import World
from hubbleclip.training.losses import Loss, Pairs

Seed = tuple[int, ...]
"""Non-negative numbers that identify a training, a step and a process."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ContrastiveGradients:
    """Computes the loss of a batch and accumulates its gradients in `grad` of the parameters.

    `wrapped` is the model, wrapped for data-parallel training if there are several processes, and compiled if the
    settings require it. If `is_local`, each process compares its own rows with all rows of the batch and computes the
    loss of its own rows only. The gradient of the whole batch is then the mean of the gradients of all processes.
    """

    wrapped: Any
    loss: Loss
    world: World
    is_bf16: bool
    is_local: bool = False
    distillation: Distillation | None = None

    def backward(
        self, images: Tensor, tokens: Tensor, group_ids: Tensor, seed: Seed, micro_batch: int
    ) -> dict[str, Tensor]:
        """Compute the loss of the whole batch and accumulate its gradients in `grad` of the parameters.

        Micro-batches give the same gradients as the whole batch (GradCache, arXiv 2101.06983). First, the features of
        all rows are computed, and the loss gives the gradients of these features. Then each micro-batch is computed
        again, and the gradients of its features are propagated to the parameters.
        """
        size = micro_batch or len(images)
        micro_batches = list(zip(torch.split(images, size), torch.split(tokens, size), strict=True))
        if len(micro_batches) > 1:
            return self._backward_cached(micro_batches, group_ids, seed)
        base = self._base_features(*micro_batches[0])
        return self._backward(self._features(*micro_batches[0], (*seed, 0)), group_ids, base)

    def _backward_cached(
        self, micro_batches: Sequence[tuple[Tensor, Tensor]], group_ids: Tensor, seed: Seed
    ) -> dict[str, Tensor]:
        """Backpropagate one micro-batch at a time, from feature gradients that are computed first (GradCache)."""
        # 1. compute the features of all rows, and discard the graph of each micro-batch to save memory. `no_grad` is
        # not used: with `no_grad`, a compiled model may draw another dropout mask than in step 3
        with self._no_sync():
            parts = [
                tuple(part.detach() for part in self._features(*inputs, (*seed, k)))
                for k, inputs in enumerate(micro_batches)
            ]
        features = tuple(part.detach().requires_grad_() for part in _joined(parts))
        base = _joined([self._base_features(*inputs) for inputs in micro_batches])
        # 2. compute the loss over the whole batch, and its gradient with respect to the features
        entries = self._backward(features, group_ids, base)
        grads = [part.grad for part in features]
        size = len(micro_batches[0][0])
        split_grads = zip(*(torch.split(grad, size) for grad in grads[:2] if grad is not None), strict=True)
        # 3. compute each micro-batch again with a graph, and propagate its features' gradients to the parameters
        for k, (inputs, row_grads) in enumerate(zip(micro_batches, split_grads, strict=True)):
            is_last = k == len(micro_batches) - 1
            with nullcontext() if is_last else self._no_sync():
                outputs = self._features(*inputs, (*seed, k))
                # the gradients of scale and bias already cover the whole batch, so they are added only once, here with
                # the last micro-batch
                own_grads = [*row_grads, *(grads[2:] if is_last else [])]
                pairs = zip(outputs, own_grads, strict=False)
                # a frozen tower that has no projection, as in SigLIP, returns features without a graph
                trained = [(output, grad) for output, grad in pairs if output.requires_grad]
                torch.autograd.backward([output for output, _ in trained], [grad for _, grad in trained])
        return entries

    def _backward(self, features: Features, group_ids: Tensor, base: Features) -> dict[str, Tensor]:
        """Gather the features of all processes, compute the loss, and run its backward pass.

        The gradients accumulate in the parameters, or in `features` if these are detached from the parameters.
        """
        image_bd, text_bd, scale, *bias = features = self._gathered(features)
        rows = torch.arange(self.world.rank, len(image_bd), self.world.size, device=image_bd.device)
        pairs = Pairs.of_features(
            image_bd,
            text_bd,
            scale,
            bias[0] if bias else None,
            self.world.gather(group_ids),
            row_r=rows if self.is_local else None,
        )
        entries = self.loss.compute(pairs)
        if self.distillation is not None:
            entries["distillation_loss"] = self.distillation.term(features, self._gathered(base))
        torch.stack(list(entries.values())).sum().backward()  # type: ignore[no-untyped-call]
        if self.is_local:
            return {name: self.world.gather(value.detach()[None]).mean() for name, value in entries.items()}
        return entries

    def _features(self, images: Tensor, tokens: Tensor, seed: Seed) -> Features:
        """Compute the features of rows in float32; dropout is drawn from `seed`."""
        # both passes over a micro-batch must draw the same dropout mask, and different micro-batches must draw
        # different masks; the numbers in `seed` are hashed and not added, because different seeds may have equal sums
        torch.manual_seed(int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0]))
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.is_bf16):
            features = self.wrapped(images, tokens)
        return tuple(part.float() for part in features)

    @torch.no_grad()
    def _base_features(self, images: Tensor, tokens: Tensor) -> Features:
        """Compute the base model's features of rows; return () if there is no distillation."""
        if self.distillation is None:
            return ()
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.is_bf16):
            return tuple(part.float() for part in self.distillation.base(images, tokens))

    def _gathered(self, features: Features) -> Features:
        """Gather the image and text features of all processes; scale and bias are returned unchanged."""
        return *(self.world.gather(part) for part in features[:2]), *features[2:]

    def _no_sync(self) -> AbstractContextManager[None]:
        """Return a context in which processes exchange no gradients; only the last micro-batch needs the exchange."""
        synced: AbstractContextManager[None] = self.wrapped.no_sync() if self.world.size > 1 else nullcontext()
        return synced


def _joined(parts: Sequence[Features]) -> Features:
    """Join the features of micro-batches, with scale and bias of the first part; return () if the parts are empty."""
    towers = (torch.cat([part[tower] for part in parts]) for tower in (0, 1)) if parts[0] else ()
    return *towers, *parts[0][2:]
