"""One training step: what it limits, and which dropout it draws."""

from pathlib import Path

import pytest
import torch
from squares_dataset import make_dataset
from test_trainer import opened
from torch import Tensor, nn

from hubbleclip.training.trainer import Trainer


@pytest.fixture(scope="module")
def dataset_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("datasets"))


def dropped_by(trainer: Trainer) -> list[Tensor]:
    """Add dropout to the image tower; the list receives what each forward pass drops."""
    visual, dropout, dropped = trainer.loaded.model.visual, nn.Dropout(0.5), []
    visual.ln_post = nn.Sequential(visual.ln_post, dropout)
    dropout.register_forward_hook(lambda _module, _inputs, output: dropped.append(output == 0))
    return dropped


def test_the_scale_stays_below_100(dataset_dir) -> None:
    trainer, batches = opened(dataset_dir)
    with torch.no_grad():
        trainer.loaded.model.logit_scale.fill_(9.0)
    trainer.train_step(batches[0])
    assert trainer.loaded.model.logit_scale.exp().item() <= 100


def test_the_gradient_is_clipped(dataset_dir) -> None:
    trainer, batches = opened(dataset_dir, grad_clip=1e-3)
    metrics = trainer.train_step(batches[0])
    norms = [one.grad.norm() for one in trainer.loaded.model.parameters() if one.grad is not None]
    assert torch.stack(norms).norm().item() == pytest.approx(1e-3, rel=1e-3)
    assert metrics["grad_norm"] > 1e-2


def test_each_step_draws_its_own_dropout_and_a_repeated_step_the_same(dataset_dir) -> None:
    trainer, batches = opened(dataset_dir)
    dropped = dropped_by(trainer)
    for step in (0, 1, 0):
        trainer.step = step
        trainer._backward(batches[0])
    first, other, again = dropped
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_both_passes_over_a_micro_batch_draw_the_same_dropout_and_each_micro_batch_its_own(dataset_dir) -> None:
    trainer, batches = opened(dataset_dir, micro_batch=2)
    dropped = dropped_by(trainer)
    trainer._backward(batches[0])
    first, second, first_again, second_again = dropped
    assert torch.equal(first, first_again)
    assert torch.equal(second, second_again)
    assert not torch.equal(first, second)
