"""Bases of the Hugging Face hub, from a cache made here: they count as trained, and finished runs need no hub."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from hub_cache import snapshot, write_base, write_tokenizer
from squares_dataset import MODEL, TRAIN

from hubbleclip.config.settings import ModelSettings, Settings
from hubbleclip.core.errors import TrainingError
from hubbleclip.training import checkpoints
from hubbleclip.training.checkpoints import load_base_model, load_run_model
from hubbleclip.training.distillation import make_distillation
from hubbleclip.training.export.open_clip_folder import merged, write_open_clip
from hubbleclip.training.export.transformers_clip import write_transformers
from hubbleclip.training.finetuning import apply_mode
from hubbleclip.training.loop import train
from hubbleclip.training.models.builder import load_model
from hubbleclip.training.runs import read_run
from hubbleclip.training.tracking import read_metrics
from tests.attack.model_folders import make_text_tower

TEXTS = ["we saw a spiral galaxy", "the comet"]
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
        run_dir = train(dataset_dir, tmp_path / str(number), ModelSettings(name=name), TRAIN, code_version="test")
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
    run_dir = train(dataset_dir, tmp_path / "runs", BASE, TRAIN, code_version="test")
    base = load_model(BASE, 1).encode_texts(TEXTS)
    expected = load_run_model(run_dir).encode_texts(TEXTS)
    shutil.rmtree(cache)
    with pytest.raises(TrainingError, match="connect to the internet"):
        load_model(BASE, 1)
    assert torch.equal(load_run_model(run_dir).encode_texts(TEXTS), expected)
    assert torch.equal(load_base_model(run_dir).encode_texts(TEXTS), base)
    (tmp_path / "exported").mkdir()
    write_open_clip(merged(load_run_model(run_dir)), tmp_path / "exported")
    again = load_model(ModelSettings(name=f"local-dir:{tmp_path / 'exported'}"), 1)
    assert torch.allclose(again.encode_texts(TEXTS), expected, atol=1e-6)


def test_a_repository_without_weights_is_refused_and_not_trained_from_random_ones(cache):
    next((cache / "models--made--squares").glob("snapshots/*/*.safetensors")).unlink()
    with pytest.raises(TrainingError, match="hf-hub:made/squares"):
        load_model(BASE, 1)


def test_a_text_tower_of_transformers_may_have_its_configuration_and_tokenizer_in_another_repository(cache):
    folder, other = make_text_tower(cache / "made"), snapshot(cache, "made/bert")
    config = json.loads((folder / "open_clip_config.json").read_text())
    config["model_cfg"]["text_cfg"] |= {"hf_model_name": "made/bert", "hf_tokenizer_name": "made/bert"}
    expected = load_model(ModelSettings(name=f"local-dir:{folder}"), 1).encode_texts(TEXTS)
    named = snapshot(cache, "made/text")
    (named / "open_clip_config.json").write_text(json.dumps(config))
    (folder / "open_clip_model.safetensors").rename(named / "open_clip_model.safetensors")
    (folder / "open_clip_config.json").unlink()
    shutil.copytree(folder, other, dirs_exist_ok=True)
    assert torch.equal(load_model(ModelSettings(name="hf-hub:made/text"), 1).encode_texts(TEXTS), expected)


def test_a_repository_of_transformers_is_a_base(cache):
    loaded = load_model(MODEL, 5)
    write_transformers(loaded, snapshot(cache, "made/clip"))
    again = load_model(ModelSettings(name="hf-hub:made/clip"), 1)
    assert torch.allclose(again.encode_texts(TEXTS), loaded.encode_texts(TEXTS), atol=1e-6)
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
    checkpoints.write_base(tmp_path, lambda: load_model(MODEL, 1))
    assert {*synced[:-1]} == {"open_clip_config.json", "open_clip_model.safetensors", "preprocess.py"}
    assert synced[-1] == "renamed"


def test_the_tag_of_a_profile_has_no_effect_on_a_name_that_includes_weights():
    assert Settings(model={"name": "hf-hub:made/squares", "pretrained": "openai"}).model == BASE
    assert BASE.weights == "hf-hub:made/squares"
    assert (MODEL.weights, ModelSettings().weights) == ("", "openai")


@pytest.mark.parametrize("has_folder", [True, False], ids=["of its folder", "of its name"])
def test_the_base_of_a_run_from_scratch_has_the_weights_of_its_seed(has_folder, dataset_dir, tmp_path):
    run_dir = train(dataset_dir, tmp_path, MODEL, TRAIN, code_version="test")
    if not has_folder:
        shutil.rmtree(run_dir / "base")
    state = load_base_model(run_dir).model.state_dict()
    assert all(
        torch.equal(state[name], weight) for name, weight in load_model(MODEL, TRAIN.seed).model.state_dict().items()
    )
