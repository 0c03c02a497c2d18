"""One training step: what it limits, and which dropout it draws."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from opened_trainers import ALONE, opened
from torch import Tensor, nn

from hubbleclip.training.gradients import ContrastiveGradients
from hubbleclip.training.losses import get_loss
from hubbleclip.training.trainer import Trainer


def dropped_by(trainer: Trainer) -> list[Tensor]:
    """Add dropout to the image tower; the list receives what each forward pass drops."""
    visual, dropout, dropped = trainer.loaded.model.visual, nn.Dropout(0.5), []
    visual.ln_post = nn.Sequential(visual.ln_post, dropout)
    dropout.register_forward_hook(lambda _module, _inputs, output: dropped.append(output == 0))
    return dropped


@pytest.mark.parametrize("mode", ["full", "head", "lora"])
def test_gradients_with_checkpointing_are_those_without(mode, dataset_dir) -> None:
    found = []
    for is_checkpointed in (False, True):
        trainer, batches = opened(dataset_dir, mode=mode, grad_checkpointing=is_checkpointed)
        trainer._backward(batches[0])
        model = getattr(trainer.loaded.model, "base", trainer.loaded.model)
        assert model.visual.transformer.grad_checkpointing == is_checkpointed
        found.append([one.grad for one in trainer.loaded.model.parameters() if one.grad is not None])
    assert all(torch.allclose(one, other, atol=1e-6) for one, other in zip(*found, strict=True))


def test_each_step_draws_its_own_dropout_and_a_repeated_step_the_same(dataset_dir) -> None:
    trainer, batches = opened(dataset_dir)
    dropped = dropped_by(trainer)
    for step in (0, 1, 0):
        trainer.step = step
        trainer._backward(batches[0])
    first, other, again = dropped
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_dropout_of_trainings_processes_steps_and_micro_batches_is_drawn_from_different_seeds(dataset_dir) -> None:
    seeds = set()
    for seed, rank in ((1, 0), (2, 0), (1, 1), (2, 1)):
        trainer, batches = opened(dataset_dir, seed=seed, micro_batch=1)
        trainer.gradients = replace(trainer.gradients, world=replace(ALONE, rank=rank))
        trainer.loaded.model.visual.register_forward_hook(lambda *_: seeds.add(torch.initial_seed()))
        for trainer.step in range(3):
            trainer._backward(batches[0])
    assert len(seeds) == 4 * 3 * len(batches[0].tiles_b1ss)


def test_both_passes_over_a_micro_batch_go_through_the_same_compiled_module(dataset_dir) -> None:
    trainer, batches = opened(dataset_dir, micro_batch=1)
    passes, model = [], trainer.loaded.model

    class Compiled(nn.Module):
        def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
            passes.append(torch.is_grad_enabled())  # a compiled model draws other dropout where it needs no gradients
            return model(*inputs)

    trainer.gradients = replace(trainer.gradients, wrapped=Compiled())
    trainer._backward(batches[0])
    assert passes == [True] * 2 * len(batches[0].tiles_b1ss)


class Dropout(nn.Module):
    """Features of a row are its inputs times weights, some of them dropped."""

    def __init__(self) -> None:
        super().__init__()
        self.image, self.text = (nn.Linear(16, 16) for _ in range(2))
        self.scale = nn.Parameter(torch.tensor(3.0))

    def forward(self, image: Tensor, text: Tensor) -> tuple[Tensor, ...]:
        dropped = (F.dropout(layer(one), 0.5) for layer, one in ((self.image, image), (self.text, text)))
        return (*(F.normalize(features, dim=-1) for features in dropped), self.scale)


@pytest.mark.nightly
def test_micro_batches_of_a_compiled_model_with_dropout_have_the_gradient_of_its_own_masks() -> None:
    torch.manual_seed(0)
    model, rows, group_ids = Dropout(), torch.randn(2, 8, 16), torch.arange(8)
    compiled = torch.compile(model)
    gradients = ContrastiveGradients(wrapped=compiled, loss=get_loss("info_nce"), world=ALONE, is_bf16=False)
    gradients.backward(rows[0], rows[1], group_ids, (1, 2), micro_batch=4)
    found = torch.cat([one.grad.flatten() for one in model.parameters()])
    model.zero_grad()
    parts = [gradients._features(rows[0, k : k + 4], rows[1, k : k + 4], (1, 2, k // 4)) for k in (0, 4)]
    image_bd, text_bd = (torch.cat([part[tower] for part in parts]) for tower in (0, 1))
    gradients._backward((image_bd, text_bd, model.scale), group_ids, ())
    expected = torch.cat([one.grad.flatten() for one in model.parameters()])
    assert F.cosine_similarity(found, expected, dim=0) > 1 - 1e-6
