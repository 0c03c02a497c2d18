import math

import pytest
import torch
import torch.nn.functional as F
from opened_trainers import opened
from squares_dataset import MODEL, TRAIN
from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from hubbleclip.config.settings import ModelSettings, TrainSettings
from hubbleclip.core.errors import SettingsError
from hubbleclip.training.checkpoints import load_run_model
from hubbleclip.training.finetuning import MODES, LowRankUpdate, apply_mode, frozen_modules, is_projection, tower_of
from hubbleclip.training.loop import _initial_model, train
from hubbleclip.training.losses import LOSSES
from hubbleclip.training.models.builder import load_model, set_initial_scale

CONVOLUTIONS = ModelSettings(name="hubbleclip-tiny", pretrained="")


def weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: weight.detach().clone() for name, weight in model.state_dict().items()}


def in_mode(mode: str, **changes) -> TrainSettings:
    return TRAIN.model_copy(update={"mode": mode, "weight_decay": 0.0, **changes})


@pytest.mark.parametrize("model", [MODEL, CONVOLUTIONS], ids=lambda model: model.name)
def test_low_rank_updates_are_zero_at_first(model) -> None:
    base, adapted = load_model(model, TRAIN.seed), _initial_model(model, in_mode("lora"))
    tiles = torch.randint(0, 256, (2, 1, base.image_size, base.image_size), dtype=torch.uint8)
    assert torch.allclose(base.encode_images(tiles), adapted.encode_images(tiles), atol=1e-6)
    assert any(name.endswith(".up") for name, _ in adapted.model.visual.named_parameters())


def test_a_low_rank_update_equals_that_of_peft() -> None:
    from peft import LoraConfig, inject_adapter_in_model

    theirs = inject_adapter_in_model(
        LoraConfig(r=4, lora_alpha=8, target_modules=["0"]), torch.nn.Sequential(torch.nn.Linear(6, 5))
    )
    ours = LowRankUpdate(theirs[0].base_layer.weight.detach(), 4)
    torch.nn.init.normal_(ours.up)
    theirs[0].lora_A.default.weight, theirs[0].lora_B.default.weight = ours.down, ours.up
    rows = torch.randn(3, 6)
    expected = torch.nn.functional.linear(rows, ours(theirs[0].base_layer.weight), theirs[0].base_layer.bias)
    assert torch.allclose(theirs(rows), expected, atol=1e-5)


@pytest.mark.parametrize("mode", sorted(MODES))
def test_a_run_of_every_mode_is_loaded_as_it_was_trained(dataset_dir, tmp_path, mode) -> None:
    run = train(dataset_dir, tmp_path, MODEL, in_mode(mode, steps=1), code_version="test")
    loaded = load_run_model(run)
    assert loaded.encode_texts(["a square"]).shape == (1, 32)
    state = torch.load(next((run / "checkpoints").glob("*.pt")), weights_only=True)["state_dict"]
    assert all(torch.equal(weight, state[name]) for name, weight in loaded.model.state_dict().items())


def test_unknown_mode_names_the_setting() -> None:
    with pytest.raises(SettingsError, match=r"train\.mode .*full, head, linear"):
        _initial_model(MODEL, in_mode("nothing"))


def test_frozen_modules_stay_in_evaluation_mode_while_the_rest_trains(dataset_dir) -> None:
    trainer, batches = opened(dataset_dir, CONVOLUTIONS, mode="locked_image", micro_batch=2)  # no norm sees a batch
    before = weights(trainer.loaded.model.visual.trunk)
    trainer.train_step(batches[0])
    assert all(torch.equal(before[name], weight) for name, weight in weights(trainer.loaded.model.visual.trunk).items())
    assert trainer.loaded.model.transformer.training


def test_is_projection_knows_what_maps_into_the_common_space() -> None:
    names = [
        "visual.head.proj.weight",
        "text.proj.weight",
        "base.visual.proj",
        "visual.trunk.head.weight",
        "visual.trunk.head.fc.bias",
        "visual.transformer.resblocks.0.mlp.c_proj.weight",
        "visual.trunk.head.norm.weight",
        "visual.trunk.attn_pool.proj.weight",
    ]
    assert [is_projection(name) for name in names] == [True] * 5 + [False] * 3


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
