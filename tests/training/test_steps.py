"""One training step: its views, which dropout it draws, and the reference's flaws, each with a test that fails for them.

PAPERCLIP (arXiv 2403.08851), github.com/smsharma/PAPERCLIP-Hubble, commit 1767fde. Where its code has a flaw:
unexponentiated scale models/train_utils.py:21, models/losses.py:91; cast token ids train.py:429, 553.
"""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from opened_trainers import ALONE, opened
from torch import Tensor, nn

from hubbleclip.training.gradients import ContrastiveGradients
from hubbleclip.training.losses import get_loss
from hubbleclip.training.trainer import Trainer, render_views


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
        for trainer.step in range(2):
            trainer._backward(batches[0])
    assert len(seeds) == 4 * 2 * len(batches[0].tiles_b1ss)


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


def test_unexponentiated_scale(dataset_dir, tmp_path) -> None:
    """The loss of a step is the one at exp(logit_scale), as CLIP trains, and not at its logarithm."""
    trainer, batches = opened(dataset_dir, run_dir=tmp_path, loss="info_nce", ema=0.5)
    with torch.no_grad():
        trainer.loaded.model.logit_scale.fill_(math.log(100))
    model, batch = trainer.loaded.model, batches[0]
    tiles = render_views(batch.tiles_b1ss, batch.theta_b23, batch.gain_b, trainer.loaded.image_size)
    with torch.no_grad():
        image, text, _ = model(trainer.loaded.normalise(tiles), batch.tokens_bl)
    similarity, target = image @ text.T, torch.arange(len(image))
    expected = {
        scale: (
            (F.cross_entropy(scale * similarity, target) + F.cross_entropy(scale * similarity.T, target)) / 2
        ).item()
        for scale in (100.0, math.log(100))
    }
    metrics = trainer.train_step(batch)
    assert metrics["logit_scale"] == pytest.approx(100)
    assert metrics["loss"] == pytest.approx(expected[100.0], rel=1e-4)
    assert metrics["loss"] != pytest.approx(expected[math.log(100)], rel=1e-2)


def test_token_ids_cast_to_bf16(dataset_dir, tmp_path) -> None:
    """Under bf16 the model is given token ids as whole numbers: rounded to 8 bits they would name other words."""
    trainer, batches = opened(dataset_dir, run_dir=tmp_path, precision="bf16")
    seen = []
    trainer.loaded.model.token_embedding.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    trainer.train_step(batches[0])
    assert not seen[0].is_floating_point()
    assert torch.equal(seen[0], trainer.loaded.trim_padding(batches[0].tokens_bl))
    assert not torch.equal(seen[0].bfloat16().long(), seen[0])


WHOLE = torch.tensor([[[1.0, 0, 0], [0, 1.0, 0]]])
TURNED, MIRRORED = torch.tensor([[[0.0, -1, 0], [1.0, 0, 0]], [[-1.0, 0, 0], [0, 1.0, 0]]])


def tiles(num: int = 1, size: int = 32) -> torch.Tensor:
    return torch.randint(0, 256, (num, 1, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def test_whole_view_is_the_area_average() -> None:
    tile = tiles()
    expected = tile.float().view(1, 1, 16, 2, 16, 2).mean((3, 5)) / 255
    assert torch.allclose(render_views(tile, WHOLE, torch.ones(1), 16), expected, atol=1e-4)


def test_each_tile_of_a_batch_is_turned_or_mirrored_by_its_own_map() -> None:
    pair = tiles(2)
    views = render_views(pair, torch.stack([TURNED, MIRRORED]), torch.ones(2), 32)
    assert torch.allclose(views, torch.stack([torch.rot90(pair[0], 1, (1, 2)), pair[1].flip(2)]) / 255, atol=1e-4)


def test_each_view_has_the_gain_of_its_own_tile() -> None:
    pair, gains = tiles(2, 16), torch.tensor([0.25, 3.0])
    views = render_views(pair, WHOLE.expand(2, -1, -1), gains, 16)
    assert torch.allclose(views, torch.clamp(pair / 255 * gains.view(2, 1, 1, 1), max=1), atol=1e-4)


def test_an_enlarged_view_continues_the_edge_of_its_tile() -> None:
    """The centres of the outermost pixels of an enlarged view are outside those of the tile, where values are extrapolated."""
    even = torch.full((1, 1, 16, 16), 200, dtype=torch.uint8)
    assert torch.allclose(render_views(even, WHOLE, torch.ones(1), 48), torch.full((1, 1, 48, 48), 200 / 255))
