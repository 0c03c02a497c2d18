"""Layers that a fine-tuning mode adds: perceptron heads and low-rank updates."""

import math

import pytest
import torch
import torch.nn.functional as F
from squares_dataset import MODEL, TRAIN
from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from hubbleclip.config.settings import ModelSettings
from hubbleclip.training.finetuning import LowRankUpdate, apply_mode, frozen_modules, tower_of
from hubbleclip.training.losses import LOSSES
from hubbleclip.training.models.builder import LoadedModel, load_model, set_initial_scale

CONVOLUTIONS = ModelSettings(name="hubbleclip-tiny", pretrained="")


def in_mode(mode: str, model: ModelSettings = MODEL, **changes) -> LoadedModel:
    return apply_mode(load_model(model, 1), TRAIN.model_copy(update={"mode": mode, **changes}))


@pytest.mark.parametrize("loss", ["info_nce", "siglip"])
def test_a_model_with_heads_gives_unit_features_scale_and_bias(loss: str) -> None:
    base = load_model(MODEL, 1)
    set_initial_scale(base, 9, LOSSES[loss])
    loaded = apply_mode(base, TRAIN.model_copy(update={"mode": "head"}))
    images, tokens = torch.randn(3, 3, 32, 32), loaded.tokenizer(["a comet", "a star", "two galaxies"])
    with torch.no_grad():
        image_bd, text_bd, scale, *bias = loaded.model.eval()(images, tokens)
        for found, head, encode, inputs in (
            (image_bd, loaded.model.image_head, base.model.encode_image, images),
            (text_bd, loaded.model.text_head, base.model.encode_text, tokens),
        ):
            expected = head[2](F.gelu(head[0](encode(inputs))))
            assert torch.allclose(found, expected / expected.norm(dim=1, keepdim=True), atol=1e-6)
        assert not torch.allclose(loaded.model.encode_text(tokens).norm(dim=1), torch.ones(3), atol=1e-3)
    assert scale.item() == pytest.approx(10 if loss == "siglip" else 1 / 0.07)
    assert [one.item() for one in bias] == ([pytest.approx(-math.log(8))] if loss == "siglip" else [])


@pytest.mark.parametrize("rank", [1, 3])
def test_a_low_rank_update_has_the_rank_of_the_setting(rank: int) -> None:
    updates = [one for one in in_mode("lora", lora_rank=rank).model.modules() if isinstance(one, LowRankUpdate)]
    assert updates
    assert {(len(one.down), one.up.shape[1]) for one in updates} == {(rank, rank)}


def test_low_rank_updates_are_of_pointwise_convolutions_and_of_matrices_that_are_no_projections() -> None:
    loaded = load_model(MODEL, 1)
    layers = {
        "matrix": nn.Linear(4, 4),
        "pointwise": nn.Conv2d(4, 6, 1),
        "in groups": nn.Conv2d(4, 4, 1, groups=2),
        "wide": nn.Conv2d(4, 4, 3),
        "flat": nn.Conv2d(4, 4, (1, 3)),
        "norm": nn.LayerNorm(4),
        "fc": nn.Linear(4, 4),
    }
    loaded.model.visual.trunk = nn.ModuleDict(layers)
    loaded.model.text = nn.ModuleDict({"proj": nn.Linear(4, 4)})
    apply_mode(loaded, TRAIN.model_copy(update={"mode": "lora"}))
    assert [name for name, layer in layers.items() if is_parametrized(layer)] == ["matrix", "pointwise"]
    assert not is_parametrized(loaded.model.text["proj"])
    projections = layers["fc"], loaded.model.text["proj"]
    assert [one.bias.requires_grad for one in (*projections, layers["matrix"])] == [True, True, False]


def test_towers_are_told_by_the_name_of_a_weight() -> None:
    names = [
        "visual.proj",
        "base.visual.conv1.weight",
        "image_head.0.weight",
        "text_head.0.weight",
        "logit_scale",
        "base.logit_bias",
        "token_embedding.weight",
        "text.transformer.layer",
    ]
    assert [tower_of(name) for name in names] == ["image", "image", "image", "text", None, None, "text", "text"]


def test_frozen_modules_have_parameters_and_none_that_is_trained() -> None:
    """Dropout has no parameters: in evaluation mode it would drop nothing."""
    frozen, half = nn.Linear(2, 2).requires_grad_(False), nn.Linear(2, 2)
    half.bias.requires_grad_(False)
    assert frozen_modules(nn.Sequential(frozen, nn.Dropout(0.5), half)) == [frozen]
