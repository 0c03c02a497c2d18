"""What each of two processes does in `test_distributed`: a module that loads little, from which both are forked."""

import gc
from pathlib import Path

import torch
import torch.distributed as dist
from timm.layers import BatchNormAct2d
from torch import nn

from hubbleclip.training.distributed import World


def gathered_gradient(rank: int, store: Path) -> tuple[list[float], int]:
    """Gradient of this process's rows, in a loss that weighs the rows of the whole batch differently per process.

    Beside it is the number that was received when each process sent 10 plus its rank.
    """
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    rows = torch.zeros(2, 1, requires_grad=True)
    world = World(rank=rank, size=2, device=torch.device("cpu"))
    (world.gather(rows).flatten() @ torch.arange(4.0) * 10**rank).backward()
    received = world.broadcast(10 + rank)
    dist.destroy_process_group()
    return rows.grad.flatten().tolist(), received


def trained_norm(rank: int, size: int, store: Path) -> tuple[list[list[float]], list[list[float]], list[list[float]]]:
    """Levels behind a batch norm, gradients, running statistics of this process's share of four rows, after a step."""
    if size > 1:
        dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=size)
    world = World(rank=rank, size=size, device=torch.device("cpu"))
    rows = torch.randn(4, 2, 3, 3, generator=torch.Generator().manual_seed(0))[rank::size].requires_grad_()
    model = nn.Sequential(BatchNormAct2d(2))
    wrapped = world.wrap(model)
    levels = wrapped(rows)
    world.gather(levels.square().mean((2, 3))).mul(torch.arange(8.0).view(4, 2)).sum().backward()
    grads = rows.grad / size, *(one.grad for one in model.parameters())
    del wrapped
    gc.collect()
    if size > 1:
        dist.destroy_process_group()
    statistics = model[0].running_mean, model[0].running_var
    return levels.tolist(), [one.tolist() for one in grads], [one.tolist() for one in statistics]
