"""Folders of transformers, and bases of the Hugging Face hub from a cache made here: features and trainings."""

import json
import shutil
from pathlib import Path

import open_clip
import pytest
import timm
import torch
from hub_cache import WORDS, snapshot, write_base, write_tokenizer
from opened_trainers import trained
from safetensors.torch import load_file, save_file
from squares_dataset import MODEL, TRAIN

from hubbleclip.config.settings import ModelSettings, Settings
from hubbleclip.core.errors import TrainingError
from hubbleclip.training import checkpoints
from hubbleclip.training.checkpoints import load_base_model, load_run_model
from hubbleclip.training.distillation import make_distillation
from hubbleclip.training.export.open_clip_folder import merged, write_open_clip
from hubbleclip.training.export.transformers_clip import write_transformers
from hubbleclip.training.finetuning import apply_mode
from hubbleclip.training.models.builder import load_model
from hubbleclip.training.models.trained_model import load_folder
from hubbleclip.training.runs import read_run
from hubbleclip.training.tracking import read_metrics
from tests.attack.model_folders import make_text_tower

TEXTS = ["we saw a spiral galaxy", "the comet shines", ""]


@timm.models.register_model
def vit_48_patch8_siglip_32(pretrained=False, **changes):
    """The image tower of a made SigLIP."""
    sizes = {"img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 2, "num_heads": 2, "mlp_ratio": 2}
    named = {name: changes[name] for name in ("num_classes", "global_pool")}
    return timm.models.VisionTransformer(**sizes, class_token=False, **named)


def make_siglip(folder, activation):
    """Write a model of transformers; return it."""
    from transformers import SiglipConfig, SiglipModel

    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    vision = sizes | {"image_size": 32, "patch_size": 8, "hidden_act": activation}
    vision |= {"hidden_size": 48, "intermediate_size": 96}  # wider than the text tower, as in the largest SigLIP 2
    text = sizes | {"hidden_act": activation, "vocab_size": len(WORDS)}
    text |= {"max_position_embeddings": 12, "projection_size": 48}
    torch.manual_seed(3)
    model = SiglipModel(SiglipConfig(vision_config=vision, text_config=text)).eval()
    with torch.no_grad():
        for weight in model.parameters():  # norms and biases too, so that each has to be in its place
            weight.add_(0.1 * torch.randn_like(weight))
        model.logit_scale.fill_(4.0)
    model.save_pretrained(folder)
    write_tokenizer(folder)
    (folder / "processor_config.json").rename(folder / "preprocessor_config.json")
    (folder / "processor_config.json").write_text("{}")  # transformers 4 writes no values of the image processor here
    return model


@pytest.fixture(scope="module")
def siglip(tmp_path_factory):
    folder = tmp_path_factory.mktemp("siglip")
    make_siglip(folder, "gelu")
    return folder


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A model and a folder of transformers that it was exported to, which is only copied."""
    loaded, folder = load_model(MODEL, 5), tmp_path_factory.mktemp("clip")
    write_transformers(loaded, folder)
    return loaded, folder


@pytest.mark.parametrize("activation", ["gelu", "gelu_pytorch_tanh"])
def test_a_siglip_has_the_features_of_transformers(activation, tmp_path):
    folder = tmp_path
    model = make_siglip(folder, activation)
    loaded = load_folder(folder)
    tiles = torch.randint(0, 256, (3, 1, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        image = model.get_image_features(pixel_values=(tiles.expand(-1, 3, -1, -1) / 255 - 0.5) / 0.25).pooler_output
        text = model.get_text_features(input_ids=loaded.tokenizer(TEXTS)).pooler_output
    # open_clip's image towers compute an exact GELU, which differs from the approximation by at most 5e-4
    image_tolerance = 1e-5 if model.config.vision_config.hidden_act == "gelu" else 2e-3
    for ours, theirs, tolerance in (
        (loaded.encode_images(tiles), image, image_tolerance),
        (loaded.encode_texts(TEXTS), text, 1e-5),
    ):
        assert torch.allclose(ours, torch.nn.functional.normalize(theirs, dim=-1), atol=tolerance)
    assert (loaded.model.logit_scale.item(), loaded.context_length) == (4.0, 12)
    stretched = load_model(ModelSettings(name=f"local-dir:{folder}", context_length=40), 1)
    assert torch.allclose(stretched.encode_texts(TEXTS), loaded.encode_texts(TEXTS), atol=1e-6)
    one, other = stretched.encode_texts(["galaxy " * 20 + word for word in ("spiral", "comet")])
    assert not torch.allclose(one, other, atol=1e-6)


@pytest.mark.parametrize("num_files", [1, 2])
def test_a_clip_has_the_features_of_its_export_whatever_weights_are_beside_it(num_files, clip, tmp_path):
    loaded, exported = clip
    shutil.copytree(exported, tmp_path, dirs_exist_ok=True)
    state = load_file(tmp_path / "model.safetensors")
    save_file({name: torch.zeros_like(one) for name, one in state.items()}, tmp_path / "model_ema.safetensors")
    if num_files > 1:
        (tmp_path / "model.safetensors").unlink()
        file_of = {name: f"model-{number % num_files}.safetensors" for number, name in enumerate(state)}
        for file in set(file_of.values()):
            save_file({name: one for name, one in state.items() if file_of[name] == file}, tmp_path / file)
        (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": file_of}))
    again = load_folder(tmp_path)
    tiles = torch.arange(2 * 32 * 32).remainder(251).to(torch.uint8).view(2, 1, 32, 32)
    assert torch.allclose(again.encode_images(tiles), loaded.encode_images(tiles), atol=1e-6)
    assert torch.allclose(again.encode_texts(TEXTS), loaded.encode_texts(TEXTS), atol=1e-6)


def test_the_activation_of_a_clip_is_that_of_its_configuration(clip, tmp_path):
    (loaded, exported), config = clip, tmp_path / "config.json"
    shutil.copytree(exported, tmp_path, dirs_exist_ok=True)
    config.write_text(config.read_text().replace('"gelu"', '"quick_gelu"'))
    expected = open_clip.create_model(MODEL.name, force_quick_gelu=True).eval()
    expected.load_state_dict(loaded.model.state_dict())
    with torch.no_grad():
        feat_nd = expected.encode_text(loaded.tokenizer(TEXTS), normalize=True)
    assert torch.allclose(load_folder(tmp_path).encode_texts(TEXTS), feat_nd, atol=1e-6)
    assert not torch.allclose(loaded.encode_texts(TEXTS), feat_nd, atol=1e-4)


def test_training_starts_from_a_folder_of_transformers_and_the_run_keeps_it(siglip, dataset_dir, tmp_path):
    run_dir = trained(dataset_dir, tmp_path, ModelSettings(name=f"local-dir:{siglip}"), loss="siglip", steps=1)
    assert read_metrics(run_dir)[0]["logit_scale"] == pytest.approx(torch.tensor(4.0).exp().item())
    assert torch.equal(load_base_model(run_dir).encode_texts(TEXTS), load_folder(siglip).encode_texts(TEXTS))


def edited(section: str, key: str, value: object):
    """Change a value of a configuration."""

    def change(text: bytes) -> bytes:
        config = json.loads(text)
        config[section][key] = value
        return json.dumps(config).encode()

    return change


@pytest.mark.parametrize(
    ("name", "damage", "problem"),
    [
        ("config.json", lambda _: b'{"model_type": "bert"}', "kind bert, and not clip or siglip"),
        ("model.safetensors", None, "the folder has no weights in model.safetensors"),
        ("model.safetensors", lambda data: data[:2000], "does not load .*: export it again"),
        ("preprocessor_config.json", lambda _: b" " * (1 << 20) + b"{}", "more than 1048576"),
        ("config.json", edited("vision_config", "hidden_act", 0), "hidden_act"),
        ("config.json", edited("text_config", "vocab_size", 50_000), "50000 tokens instead of 49408"),
        ("config.json", edited("vision_config", "num_hidden_layers", 257), "num_hidden_layers is 257"),
        ("config.json", edited("text_config", "evil", "evil.Evil"), "unknown key 'evil'"),
    ],
)
def test_a_folder_that_cannot_be_read_is_one_line(name, damage, problem, clip, tmp_path):
    shutil.copytree(clip[1], tmp_path, dirs_exist_ok=True)
    path = tmp_path / name
    path.write_bytes(damage(path.read_bytes())) if damage else path.unlink()
    with pytest.raises(TrainingError, match=problem) as caught:
        load_folder(tmp_path)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize(
    ("name", "change", "problem"),
    [
        ("tokenizer_config.json", {"tokenizer_class": "EvilTokenizer"}, "unknown tokenizer_class 'EvilTokenizer'"),
        ("tokenizer.json", {"normalizer": {"type": "Evil"}}, "the tokenizer of .* does not load"),
        ("tokenizer_config.json", {"auto_map": {}}, "unknown key 'auto_map'"),
        ("config.json", {"model_type": "evil"}, "kind evil"),
        ("config.json", {"quantization_config": []}, "unknown key 'quantization_config'"),
    ],
)
def test_a_text_tower_of_transformers_is_checked_with_its_tokenizer(name, change, problem, tmp_path):
    path = make_text_tower(tmp_path / "made") / name
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(TrainingError, match=problem):
        load_folder(path.parent)


def test_a_text_tower_of_transformers_is_exported_with_its_configuration_and_tokenizer(tmp_path):
    loaded, folder = load_folder(make_text_tower(tmp_path / "made")), tmp_path / "exported"
    folder.mkdir()
    write_open_clip(merged(loaded), folder)
    shutil.rmtree(tmp_path / "made")
    assert torch.allclose(load_folder(folder).encode_texts(TEXTS), loaded.encode_texts(TEXTS), atol=1e-6)


def test_the_tokenizer_of_a_siglip_is_checked(siglip, tmp_path):
    path = shutil.copytree(siglip, tmp_path / "copy") / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"auto_map": {}}))
    with pytest.raises(TrainingError, match="unknown key 'auto_map'"):
        load_folder(path.parent)


SHORT_TEXTS = ["we saw a spiral galaxy", "the comet"]
BASE = ModelSettings(name="hf-hub:made/squares")


@pytest.fixture(scope="module")
def made_cache(tmp_path_factory):
    """A cache with the model `made/squares` and its tokenizer."""
    cache = tmp_path_factory.mktemp("hub")
    folder = snapshot(cache, "made/squares")
    write_base(folder, load_model(MODEL, 7), tokenizer="made/squares")
    write_tokenizer(folder)
    return cache


@pytest.fixture
def cache(made_cache, tmp_path, monkeypatch):
    """A copy of the cache that is used without network."""
    copy = tmp_path / "hub"
    shutil.copytree(made_cache, copy)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(copy))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return copy


def test_a_base_of_the_hub_is_trained_as_the_folder_with_the_same_files(dataset_dir, cache, tmp_path):
    folder = next((cache / "models--made--squares" / "snapshots").iterdir())
    rows = []
    for number, name in enumerate((BASE.name, f"local-dir:{folder}")):
        run_dir = trained(dataset_dir, tmp_path / str(number), ModelSettings(name=name), steps=1)
        assert read_run(run_dir).run.pretrained == name
        rows.append(read_metrics(run_dir)[0])
    assert rows[0]["logit_scale"] == rows[1]["logit_scale"] == pytest.approx(100)
    assert rows[0]["loss"] == rows[1]["loss"]


def test_a_base_of_the_hub_is_distilled_from_and_keeps_its_projections(cache):
    load = lambda: load_model(BASE, 1)  # noqa: E731
    assert make_distillation(TRAIN.model_copy(update={"distillation_weight": 1.0}), load) is not None
    with_heads = apply_mode(load(), TRAIN.model_copy(update={"mode": "head"})).model
    assert not with_heads.base.text_projection.requires_grad


def test_a_finished_run_opens_without_the_hub_and_exports_its_tokenizer(dataset_dir, cache, tmp_path):
    run_dir = trained(dataset_dir, tmp_path / "runs", BASE, steps=1)
    base = load_model(BASE, 1).encode_texts(SHORT_TEXTS)
    expected = load_run_model(run_dir).encode_texts(SHORT_TEXTS)
    shutil.rmtree(cache)
    with pytest.raises(TrainingError, match="connect to the internet"):
        load_model(BASE, 1)
    assert torch.equal(load_run_model(run_dir).encode_texts(SHORT_TEXTS), expected)
    assert torch.equal(load_base_model(run_dir).encode_texts(SHORT_TEXTS), base)
    (tmp_path / "exported").mkdir()
    write_open_clip(merged(load_run_model(run_dir)), tmp_path / "exported")
    again = load_model(ModelSettings(name=f"local-dir:{tmp_path / 'exported'}"), 1)
    assert torch.allclose(again.encode_texts(SHORT_TEXTS), expected, atol=1e-6)


def test_a_repository_without_weights_is_refused_and_not_trained_from_random_ones(cache):
    next((cache / "models--made--squares").glob("snapshots/*/*.safetensors")).unlink()
    with pytest.raises(TrainingError, match="hf-hub:made/squares"):
        load_model(BASE, 1)


def test_a_text_tower_of_transformers_may_have_its_configuration_and_tokenizer_in_another_repository(cache):
    folder, other = make_text_tower(cache / "made"), snapshot(cache, "made/bert")
    config = json.loads((folder / "open_clip_config.json").read_text())
    config["model_cfg"]["text_cfg"] |= {"hf_model_name": "made/bert", "hf_tokenizer_name": "made/bert"}
    expected = load_model(ModelSettings(name=f"local-dir:{folder}"), 1).encode_texts(SHORT_TEXTS)
    named = snapshot(cache, "made/text")
    (named / "open_clip_config.json").write_text(json.dumps(config))
    (folder / "open_clip_model.safetensors").rename(named / "open_clip_model.safetensors")
    (folder / "open_clip_config.json").unlink()
    shutil.copytree(folder, other, dirs_exist_ok=True)
    assert torch.equal(load_model(ModelSettings(name="hf-hub:made/text"), 1).encode_texts(SHORT_TEXTS), expected)


def test_a_repository_of_transformers_is_a_base(clip, cache):
    loaded, exported = clip
    shutil.copytree(exported, snapshot(cache, "made/clip"), dirs_exist_ok=True)
    again = load_model(ModelSettings(name="hf-hub:made/clip"), 1)
    assert torch.allclose(again.encode_texts(SHORT_TEXTS), loaded.encode_texts(SHORT_TEXTS), atol=1e-6)
    assert again.has_aligned_towers


def test_a_tokenizer_that_the_end_of_the_training_would_refuse_is_refused_at_its_beginning(cache, tmp_path):
    loaded = load_model(BASE, 1)
    loaded.tokenizer.tokenizer.init_kwargs["made_by"] = "another version"
    with pytest.raises(TrainingError, match="unknown key 'made_by'"):
        checkpoints.write_base(tmp_path, lambda: loaded)
    assert not (tmp_path / "base").exists()


def test_the_files_of_a_base_are_on_disk_before_it_has_its_name(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(checkpoints, "sync_files", lambda paths: synced.extend(path.name for path in paths))
    monkeypatch.setattr(Path, "rename", lambda *_: synced.append("renamed"))
    monkeypatch.setattr(checkpoints, "sync_folder", synced.append)
    (tmp_path / ".base.building" / "of a killed process").mkdir(parents=True)
    checkpoints.write_base(tmp_path, lambda: load_model(MODEL, 1))
    assert {*synced[:-2]} == {"open_clip_config.json", "open_clip_model.safetensors", "preprocess.py"}
    assert synced[-2:] == ["renamed", tmp_path]


def test_the_tag_of_a_profile_has_no_effect_on_a_name_that_includes_weights():
    assert Settings(model={"name": "hf-hub:made/squares", "pretrained": "openai"}).model == BASE
    assert BASE.weights == "hf-hub:made/squares"
    assert (MODEL.weights, ModelSettings().weights) == ("", "openai")


@pytest.mark.parametrize("has_folder", [True, False], ids=["of its folder", "of its name"])
def test_the_base_of_a_run_from_scratch_has_the_weights_of_its_seed(has_folder, dataset_dir, tmp_path):
    run_dir = trained(dataset_dir, tmp_path, steps=1)
    if not has_folder:
        shutil.rmtree(run_dir / "base")
    state = load_base_model(run_dir).model.state_dict()
    assert all(
        torch.equal(state[name], weight) for name, weight in load_model(MODEL, TRAIN.seed).model.state_dict().items()
    )
