"""AdamW as CLIP was trained with it: its moments, decay and rates, compared with the equations."""

import math

import pytest
import torch
from open_clip.modified_resnet import ModifiedResNet
from pydantic import ValidationError
from squares_dataset import MODEL
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from hubbleclip.config.settings import TrainSettings
from hubbleclip.training.models.builder import load_model
from hubbleclip.training.optimizer import learning_rate, make_optimizer, rate_shares, set_learning_rate


class Small(nn.Module):
    """A matrix of a tower, its bias, a projection, and a scale."""

    def __init__(self) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(0)
        self.visual = nn.Module()
        self.visual.blocks = nn.ModuleList([nn.Linear(4, 3), nn.Linear(3, 2)])
        self.text_projection = nn.Parameter(torch.randn(2, 5, generator=draw))
        self.logit_scale = nn.Parameter(torch.tensor(2.0))


def test_three_steps_are_those_of_decoupled_weight_decay_with_the_rate_of_each_group() -> None:
    settings = TrainSettings(weight_decay=0.3, layer_decay=0.4, beta2=0.98, eps=1e-8)
    model, draw = Small(), torch.Generator().manual_seed(1)
    optimizer = make_optimizer(model, settings)
    share = {"visual.blocks.0": 0.4, "visual.blocks.1": 1.0, "text_projection": 1.0, "logit_scale": 1.0}
    expected = {
        name: [weight.detach().clone().double(), torch.zeros_like(weight).double(), torch.zeros_like(weight).double()]
        for name, weight in model.named_parameters()
    }
    for step, rate in enumerate((0.01, 0.02, 0.005), 1):
        for name, weight in model.named_parameters():
            grad = torch.randn(weight.shape, generator=draw)
            weight.grad = grad
            value, first, second = expected[name]
            own_rate = rate * next(one for prefix, one in share.items() if name.startswith(prefix))
            decay = 0.3 if weight.ndim >= 2 else 0.0
            first.mul_(0.9).add_(0.1 * grad)
            second.mul_(0.98).add_(0.02 * grad.double() ** 2)
            value.mul_(1 - own_rate * decay)
            value.sub_(own_rate * (first / (1 - 0.9**step)) / ((second / (1 - 0.98**step)).sqrt() + 1e-8))
        set_learning_rate(optimizer, rate)
        optimizer.step()
    for name, weight in model.named_parameters():
        assert torch.allclose(weight.double(), expected[name][0], atol=1e-5), name


def timm_tower(kind: type[nn.Module]) -> nn.Module:
    tower = nn.Module()
    tower.trunk = kind(img_size=16, patch_size=8, embed_dim=8, depth=1, num_heads=2)
    return tower


OPEN_CLIP_VIT = load_model(MODEL, 1).model.visual


@pytest.mark.parametrize(
    ("tower", "changes", "expected"),
    [
        (OPEN_CLIP_VIT, {}, ((0.9, 0.98), 1e-6)),
        (timm_tower(VisionTransformer), {}, ((0.9, 0.98), 1e-6)),
        (timm_tower(Eva), {}, ((0.9, 0.98), 1e-6)),
        (ModifiedResNet([1] * 4, 8, 2, 32, 4), {}, ((0.9, 0.999), 1e-8)),
        (OPEN_CLIP_VIT, {"beta1": 0.8, "beta2": 0.0, "eps": 1e-5}, ((0.8, 0.0), 1e-5)),
    ],
)
def test_moments_are_those_of_open_clip_for_the_family_unless_they_are_set(tower, changes, expected) -> None:
    model = Small()
    model.visual = tower
    optimizer = make_optimizer(model, TrainSettings(**changes))
    assert (optimizer.defaults["betas"], optimizer.defaults["eps"]) == expected


TIMM = ("patch_embed.proj.weight", "blocks.0.a", "blocks.10.a", "blocks.2.a", "norm.weight")
CONVNEXT = ("stem.0.weight", "stages.0.blocks.0.a", "stages.0.blocks.1.a", "stages.1.blocks.0.a")
HUGGING_FACE = ("embeddings.word_embeddings.weight", "encoder.layer.0.a", "encoder.layer.1.a")
OPEN_CLIP = (
    "class_embedding",
    "conv1.weight",
    "transformer.resblocks.0.a",
    "transformer.resblocks.1.a",
    "ln_post.weight",
)
TEXT = (
    "positional_embedding",
    *(f"transformer.resblocks.{n}.a" for n in (0, 1)),
    "token_embedding.weight",
    "ln_final.a",
)
RESNET = ("conv1.weight", *(f"layer{number}.0.conv1.weight" for number in (1, 2, 3, 4)))
LAYERS = {
    "open_clip": ("visual.", OPEN_CLIP, [0.125, 0.125, 0.25, 0.5, 1]),
    "open_clip's ResNet": ("visual.", (*RESNET, "proj"), [0.0625, 0.125, 0.25, 0.5, 1, 1]),
    "open_clip's text": ("", TEXT, [0.125, 0.25, 0.5, 0.125, 1]),
    "timm": ("visual.trunk.", TIMM, [0.0625, 0.125, 0.5, 0.25, 1]),
    "ConvNeXt": ("visual.trunk.", CONVNEXT, [0.25, 0.5, 0.5, 1]),
    "Hugging Face": ("text.transformer.", HUGGING_FACE, [0.25, 0.5, 1]),
}


@pytest.mark.parametrize("library", LAYERS)
def test_layers_of_every_library_are_counted_from_the_stem(library: str) -> None:
    tower, parts, expected = LAYERS[library]
    shares = rate_shares([f"{tower}{part}" for part in parts], TrainSettings(layer_decay=0.5))
    assert list(shares.values()) == pytest.approx(expected)


def test_the_decay_of_a_tower_leaves_projections_heads_scale_and_bias_alone() -> None:
    free = ["visual.proj", "image_head.0.weight", "text_projection", "text.proj.weight", "logit_scale", "logit_bias"]
    shares = rate_shares(["visual.conv1.weight", "visual.blocks.0.weight", *free], TrainSettings(layer_decay=0.1))
    assert list(shares.values()) == pytest.approx([0.1] + [1] * 7)


COSINE = [1.5 * (1 + math.cos(math.pi * step / 16)) for step in range(17)]


@pytest.mark.parametrize(
    ("changes", "steps", "expected"),
    [
        ({}, range(21), [0.75, 1.5, 2.25, 3, *COSINE]),
        ({"cooldown_steps": 4}, (4, 12, 18), [COSINE[0], COSINE[8], COSINE[14]]),
        ({"lr_scheduler": "const"}, (0, 4, 16, 19), [0.75, 3, 3, 3]),
        ({"lr_scheduler": "const-cooldown", "cooldown_steps": 4}, (4, 16, 17, 19), [3, 3, 2.25, 0.75]),
        ({"steps": 5, "warmup_steps": 50}, range(6), [0.6, 1.2, 1.8, 2.4, 3, 3]),
        ({"steps": 4, "warmup_steps": 0}, range(4), [3, 2.56066, 1.5, 0.43934]),
    ],
)
def test_the_rate_is_linear_up_to_the_peak_and_then_that_of_the_schedule(changes, steps, expected) -> None:
    settings = TrainSettings(**{"steps": 20, "warmup_steps": 4, "learning_rate": 3.0} | changes)
    assert [learning_rate(step, settings) for step in steps] == pytest.approx(expected, abs=1e-5)


def test_a_cooldown_needs_its_steps() -> None:
    with pytest.raises(ValidationError, match="needs train.cooldown_steps"):
        TrainSettings(lr_scheduler="const-cooldown")
