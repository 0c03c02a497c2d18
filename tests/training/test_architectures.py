"""Every architecture that open_clip builds without a download: its features, what each mode trains, save and load.

The real sizes are built without memory, on torch's meta device. Small models of each class of tower are trained.
"""

import json
from pathlib import Path

import open_clip
import pytest
import torch
from opened_trainers import ALONE
from squares_dataset import TRAIN
from torch import Tensor, nn

from hubbleclip.config.settings import ModelSettings
from hubbleclip.training.finetuning import MODES, apply_mode, tower_of
from hubbleclip.training.gradients import ContrastiveGradients
from hubbleclip.training.losses import get_loss
from hubbleclip.training.models.builder import LoadedModel, load_model, rebuild_model
from hubbleclip.training.optimizer import make_optimizer

META = torch.device("meta")
TEXT = {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
LAST = {"no_causal_mask": True, "pool_type": "last", "proj_bias": True}


def timm_tower(name: str, image_size: int, **options) -> dict:
    return {"timm_model_name": name, "timm_model_pretrained": False, "image_size": image_size, **options}


BARE = {"timm_proj": None}
SMALL = {
    "vit": {"vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 8}},
    "resnet": {"vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 16}},
    "convnext": {"vision_cfg": timm_tower("convnext_atto", 64, timm_pool="", timm_proj="mlp")},
    "custom-text": {"vision_cfg": timm_tower("resnet10t", 64, timm_pool="", timm_proj="linear"), "custom_text": True},
    "eva": {"vision_cfg": timm_tower("eva02_tiny_patch14_224", 224, timm_pool="token", **BARE), "custom_text": True},
    "fastvit": {
        "vision_cfg": timm_tower("fastvit_t8", 64, timm_pool="avg", **BARE),
        "custom_text": True,
        "text_cfg": TEXT | {"no_causal_mask": True},
    },
    "sigmoid": {
        "vision_cfg": timm_tower("vit_tiny_patch16_224", 224, timm_pool="map", timm_proj="none"),
        "custom_text": True,
        "embed_dim": 192,
        "text_cfg": TEXT | LAST,
        "init_logit_bias": -10.0,
    },
}
"""A small model of each class: towers of open_clip and timm, with and without a projection, poolings of texts."""


def buildable() -> list[str]:
    """Names of the models of two towers that are not of transformers."""
    configs = {name: open_clip.get_model_config(name) for name in open_clip.list_models()}
    return [
        name for name, one in configs.items() if "multimodal_cfg" not in one and "hf_model_name" not in one["text_cfg"]
    ]


def trained(model: nn.Module) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def on_meta(name: str) -> LoadedModel:
    model = open_clip.create_model(name, device=META, pretrained_text=False)
    return LoadedModel(
        model=model,
        tokenizer=None,
        image_size=224,
        mean=(),
        std=(),
        context_length=model.context_length,
        padding_id=None,
        settings=ModelSettings(name=name, pretrained=""),
    )


@pytest.mark.nightly
@pytest.mark.parametrize("name", buildable())
def test_towers_of_every_architecture_are_frozen_except_their_projections(name: str) -> None:
    config = open_clip.get_model_config(name)
    width = config["embed_dim"]
    with META:
        loaded = on_meta(name)
        size = loaded.model.visual.image_size
        image, text, *_ = loaded.model(
            torch.empty(2, 3, *size) if isinstance(size, tuple) else torch.empty(2, 3, size, size),
            torch.zeros(2, loaded.context_length, dtype=torch.long),
        )
        assert image.shape == text.shape == (2, width)
        projections = trained(apply_mode(loaded, TRAIN.model_copy(update={"mode": "linear"})).model)
        weights = dict(loaded.model.named_parameters())
        outputs = {tower_of(one) for one in projections if width in weights[one].shape and weights[one].ndim == 2}
        # SigLIP's image tower has no projection, and one of its models has none at all
        expected = {"image"} if config["vision_cfg"].get("timm_proj") != "none" else set()
        assert outputs == expected | ({"text"} if config["text_cfg"].get("proj_type") != "none" else set())
        sizes = {False: 0, True: 0}
        for one, weight in weights.items():
            sizes[one in projections] += weight.numel()
        assert sizes[True] < 0.1 * sizes[False]


@pytest.fixture(scope="module")
def small_models(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("models")
    for name, config in SMALL.items():
        text = {"embed_dim": 32, "text_cfg": TEXT} | config
        (folder / f"small-{name}.json").write_text(json.dumps(text))
    open_clip.add_model_config(Path(folder))


def features(loaded: LoadedModel) -> tuple[Tensor, Tensor]:
    tiles = torch.linspace(0, 1, loaded.image_size**2).view(1, 1, loaded.image_size, loaded.image_size)
    return loaded.encode_images(tiles), loaded.encode_texts(["a comet", "a spiral galaxy with two arms"])


@pytest.mark.slow
@pytest.mark.parametrize("mode", sorted(MODES))
@pytest.mark.parametrize("name", SMALL)
@pytest.mark.usefixtures("small_models")
def test_a_small_model_of_each_class_is_trained_saved_and_loaded_in_every_mode(name, mode, tmp_path) -> None:
    model = ModelSettings(name=f"small-{name}", pretrained="")
    settings = TRAIN.model_copy(update={"mode": mode})
    loaded = apply_mode(load_model(model, 1), settings)
    before = {key: weight.clone() for key, weight in loaded.model.state_dict().items()}
    images = loaded.normalise(torch.rand(2, 1, loaded.image_size, loaded.image_size))
    tokens = loaded.trim_padding(loaded.tokenizer(["a comet", "a spiral galaxy"]))
    gradients = ContrastiveGradients(
        wrapped=loaded.model.train(), loss=get_loss("info_nce"), world=ALONE, is_bf16=False
    )
    optimizer = make_optimizer(loaded.model, settings.model_copy(update={"weight_decay": 0.0}))
    for step in range(2):  # low-rank updates are zero before the first step
        gradients.backward(images, tokens, torch.arange(2), (1, step, 0), micro_batch=0)
        optimizer.step()
    state = loaded.model.state_dict()
    frozen = {key for key, parameter in loaded.model.named_parameters() if not parameter.requires_grad}
    assert all(torch.equal(before[key], state[key]) for key in frozen)
    assert any(not torch.equal(before[key], state[key]) for key in trained(loaded.model))
    torch.save(state, tmp_path / "weights.pt")
    again = rebuild_model(model, torch.load(tmp_path / "weights.pt"), lambda one: apply_mode(one, settings))
    assert all(torch.equal(one, other) for one, other in zip(features(loaded), features(again), strict=True))
