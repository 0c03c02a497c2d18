"""One process or many: who we are under torchrun, and features of all processes as one batch."""

from __future__ import annotations

import atexit
import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Who we are among `size` processes. Rank 0 alone writes files, validates and logs."""

    rank: int
    size: int
    device: torch.device

    @property
    def is_writer(self) -> bool:
        """Whether files are ours to write."""
        return self.rank == 0

    def gather(self, rows: Tensor) -> Tensor:
        """Rows of all processes in the order of the whole batch, of which process r holds rows r, r + size, ...

        Gradients flow back to every process, as in open_clip's `gather_with_grad`: each then holds the whole loss.
        """
        if self.size == 1:
            return rows
        gathered: Tensor = _Gather.apply(rows, self)  # type: ignore[no-untyped-call]
        return gathered

    def share(self, value: T) -> T:
        """The writer's value, on every process."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def wrap(self, model: nn.Module) -> nn.Module:
        """The model with gradients averaged over the processes and batch norms that see the whole batch."""
        if self.size == 1:
            return model
        if self.device.type == "cuda":
            model = nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
        return DistributedDataParallel(model, device_ids=[self.device] if self.device.type == "cuda" else None)


class _Gather(torch.autograd.Function):
    """Interleave the rows of all processes; backwards, sum what all of them want of ours."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, world: World) -> Tensor:
        ctx.world = world
        parts = [torch.empty_like(rows) for _ in range(world.size)]
        dist.all_gather(parts, rows.contiguous())
        return torch.stack(parts, dim=1).flatten(0, 1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        total = grad.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total[ctx.world.rank :: ctx.world.size], None


@contextmanager
def joined() -> Iterator[World]:
    """Join the processes that torchrun started, if it did; one GPU a process, or the CPU where there is none.

    Wrapped models stand in reference cycles, and one that outlives its group hangs the exit: collect first.
    """
    size, local_rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("LOCAL_RANK", "0"))
    has_gpu = torch.cuda.is_available()
    device = torch.device("cuda", local_rank) if has_gpu else torch.device("cpu")
    if has_gpu:
        torch.cuda.set_device(device)
    if size == 1 or dist.is_initialized():
        yield World(rank=int(os.environ.get("RANK", "0")), size=size, device=device)
        return
    atexit.register(gc.collect)
    dist.init_process_group("nccl" if has_gpu else "gloo")
    try:
        yield World(rank=dist.get_rank(), size=size, device=device)
    finally:
        gc.collect()
        dist.destroy_process_group()
