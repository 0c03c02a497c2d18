"""Support data-parallel training under torchrun: find the rank of this process, and gather rows of all processes."""

from __future__ import annotations

import atexit
import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.nn.functional import all_gather
from torch.nn.parallel import DistributedDataParallel

from hubbleclip.config.settings import ModelSettings, TrainSettings
from hubbleclip.core.errors import TrainingError
from hubbleclip.training.batch_norms import share_statistics

T = TypeVar("T")
SMALL_MODELS = frozenset({"hubbleclip-tiny", "towers"})
"""Models that are accepted without a GPU, because a CPU trains them in minutes or hours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Rank of this process among `size` processes. Only rank 0 writes files, validates and logs."""

    rank: int
    size: int
    device: torch.device

    @property
    def is_writer(self) -> bool:
        """Whether this process is the one that writes files, validates and logs (rank 0)."""
        return self.rank == 0

    def gather(self, rows: Tensor) -> Tensor:
        """Gather the rows of all processes, in the order of the whole batch.

        Each process computes the loss of the whole batch. The gradients of this loss flow back to the rows of every
        process, as with open_clip's option `gather_with_grad`.
        """
        if self.size == 1:
            return rows
        # row `i` of the batch is row `i // size` of process `i % size`
        gathered: Tensor = torch.stack(all_gather(rows), dim=1).flatten(0, 1)  # type: ignore[no-untyped-call]
        return gathered

    def broadcast(self, value: T) -> T:
        """Send the value of the process with rank 0 to every process."""
        if self.size == 1:
            return value
        box = [value]  # broadcast_object_list writes into the list
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def wrap(self, model: nn.Module) -> nn.Module:
        """Wrap a model for data-parallel training; batch norms then use the statistics of the whole batch."""
        if self.size == 1:
            return model
        model = share_statistics(model, self)
        return DistributedDataParallel(model, device_ids=[self.device] if self.device.type == "cuda" else None)


def check_device(model: ModelSettings, train: TrainSettings) -> None:
    """Raise TrainingError if a large model would be trained without a GPU."""
    if not (model.name in SMALL_MODELS or train.allow_cpu or torch.cuda.is_available()):
        raise TrainingError(
            f"there is no GPU to train {model.name}: run `hubbleclip dataset` here and train on a machine with one,"
            " or set train.allow_cpu = true"
        )


@contextmanager
def process_group() -> Iterator[World]:
    """Join torchrun's process group, if there is one. Each process uses one GPU, or the CPU if there is no GPU."""
    size, local_rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("LOCAL_RANK", "0"))
    has_gpu = torch.cuda.is_available()
    device = torch.device("cuda", local_rank) if has_gpu else torch.device("cpu")
    if has_gpu:
        torch.cuda.set_device(device)
    if size == 1 or dist.is_initialized():  # a caller that initialised the group also destroys it
        yield World(rank=int(os.environ.get("RANK", "0")), size=size, device=device)
        return
    # a wrapped model is in a reference cycle, so only the garbage collector frees it; if the model is still in memory
    # when the process group ends, the process hangs at its exit
    atexit.register(gc.collect)
    dist.init_process_group("nccl" if has_gpu else "gloo")
    try:
        yield World(rank=dist.get_rank(), size=size, device=device)
    finally:
        gc.collect()
        dist.destroy_process_group()
