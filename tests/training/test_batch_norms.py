"""Batch norms with shared statistics: those of torch for one process, in training and in evaluation mode."""

from copy import deepcopy

import pytest
import torch
from timm.layers import BatchNormAct2d
from torch import nn

from hubbleclip.training.batch_norms import share_statistics
from hubbleclip.training.distributed import World

ALONE = World(rank=0, size=1, device=torch.device("cpu"))
SHAPES = {nn.BatchNorm1d: (7, 3), nn.BatchNorm2d: (5, 3, 4, 6), nn.BatchNorm3d: (4, 3, 2, 3, 5)}


def made_norm(kind: type[nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    norm = kind(3, eps=0.03, momentum=0.25)
    for values in (norm.weight, norm.bias, norm.running_mean):
        nn.init.normal_(values.detach() if values.requires_grad else values)
    return norm


@pytest.mark.parametrize("kind", SHAPES, ids=lambda kind: kind.__name__)
def test_features_gradients_and_running_statistics_are_those_of_torch(kind: type[nn.Module]) -> None:
    theirs = made_norm(kind)
    ours = share_statistics(deepcopy(theirs), ALONE)
    draw = torch.Generator().manual_seed(1)
    for _ in range(2):
        rows = 2 + 3 * torch.randn(SHAPES[kind], generator=draw)
        pair = [rows.clone().requires_grad_() for _ in range(2)]
        levels = [norm(one) for norm, one in zip((ours, theirs), pair, strict=True)]
        assert torch.allclose(*levels, atol=1e-5)
        for one in levels:
            (one * torch.arange(float(one.numel())).view_as(one)).sum().backward()
        assert torch.allclose(pair[0].grad, pair[1].grad, rtol=1e-3, atol=1e-2)
    for name, value in theirs.state_dict().items():
        assert torch.allclose(ours.state_dict()[name], value, rtol=1e-5, atol=1e-6), name
    assert torch.allclose(ours.weight.grad, theirs.weight.grad, rtol=1e-4)


def test_in_evaluation_mode_the_running_statistics_are_used_and_kept() -> None:
    theirs = made_norm(nn.BatchNorm2d).eval()
    ours = share_statistics(deepcopy(theirs), ALONE)
    rows = 5 + torch.randn(2, 3, 4, 4)
    assert torch.allclose(ours(rows), theirs(rows))
    assert torch.equal(ours.running_mean, theirs.running_mean)
    assert int(ours.num_batches_tracked) == 0


def test_the_type_of_the_input_is_that_of_the_output_and_statistics_are_computed_in_fp32() -> None:
    ours = share_statistics(nn.BatchNorm2d(3), ALONE)
    rows = (300 + torch.randn(8, 3, 16, 16)).bfloat16()
    levels = ours(rows)
    assert levels.dtype == torch.bfloat16
    assert torch.allclose(ours.running_mean, 0.1 * rows.float().mean((0, 2, 3)), rtol=1e-5)


def test_dropout_behind_a_norm_comes_before_its_activation() -> None:
    norm = BatchNormAct2d(3)
    norm.drop, norm.act = nn.Dropout(1.0), nn.Sigmoid()
    ours = share_statistics(norm, ALONE)
    assert torch.equal(ours(torch.randn(4, 3, 2, 2)), torch.full((4, 3, 2, 2), 0.5))
