"""Exported models, as open_clip and a notebook load them; a stranger's folder runs no code and fetches nothing."""

import io
import json
import math
import pickle
import shutil
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import open_clip
import pytest
import torch
from finished_runs import made_run
from PIL import Image
from safetensors import SafetensorError
from squares_dataset import MODEL, TRAIN

import hubbleclip
from hubbleclip.config.settings import ModelSettings
from hubbleclip.core.errors import DiskFullError, SettingsError, TrainingError
from hubbleclip.dataset.reader import decode_resized
from hubbleclip.training.checkpoints import load_run_model
from hubbleclip.training.export import onnx_towers, open_clip_folder, preprocess, probes
from hubbleclip.training.export.onnx_towers import write_onnx
from hubbleclip.training.export.open_clip_folder import WEIGHTS, merged, write_open_clip
from hubbleclip.training.export.transformers_clip import (
    clip_config,
    has_clip_config,
    has_clip_layers,
    write_transformers,
)
from hubbleclip.training.models.builder import architecture, load_model, rebuild_model
from hubbleclip.training.models.trained_model import publish_model
from tests.attack.model_folders import make_clip

TEXTS = ["a spiral galaxy", "We propose to observe the nucleus of a comet.", ""]


def made_tile(size_px: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size_px, size_px), dtype=np.uint8))


def encoded(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def exported(folder: Path, loaded) -> Path:
    folder.mkdir(parents=True)
    loaded.model.to(memory_format=torch.channels_last)  # as in training
    write_open_clip(merged(loaded), folder)
    return folder


def features_by_open_clip(folder: Path, images: list[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
    """Features of pictures and of `TEXTS` by open_clip alone."""
    model, _, _ = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    with torch.no_grad():
        pixels = torch.from_numpy(np.stack(images))
        return model.eval().encode_image(pixels, normalize=True), model.encode_text(tokenizer(TEXTS), normalize=True)


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    return made_run(tmp_path_factory.mktemp("profile"))


@pytest.fixture(scope="module")
def folder(run_dir, tmp_path_factory):
    return exported(tmp_path_factory.mktemp("exported") / "model", load_run_model(run_dir))


@pytest.mark.parametrize(
    ("model", "changes", "size_px"),
    [
        (MODEL, {}, 75),
        (MODEL, {"mode": "lora"}, 20),
        (MODEL.model_copy(update={"context_length": 40}), {}, 32),
        pytest.param(ModelSettings(name="hubbleclip-tiny", pretrained=""), {}, 75, marks=pytest.mark.slow),
    ],
    ids=["large tiles", "lora, small tiles", "long context", "timm"],
)
def test_open_clip_gives_the_features_of_what_training_made_of_an_architecture(model, changes, size_px, tmp_path):
    run_dir = made_run(tmp_path, model=model, settings=TRAIN.model_copy(update=changes))
    tile, loaded = made_tile(size_px), load_run_model(run_dir)
    levels = decode_resized(encoded(tile), loaded.image_size)
    folder = exported(tmp_path / "model", load_run_model(run_dir))
    images, texts = features_by_open_clip(folder, [preprocess.preprocess(tile, folder / "open_clip_config.json")])
    assert torch.allclose(images, loaded.encode_images(torch.from_numpy(levels.copy())[None, None]), atol=1e-6)
    assert torch.allclose(texts, loaded.encode_texts(TEXTS), atol=1e-6)


def test_the_logit_bias_of_a_sigmoid_loss_is_exported(tmp_path):
    state = load_model(MODEL, 1).model.state_dict() | {"logit_bias": torch.tensor(-3.5)}
    folder = exported(tmp_path / "model", rebuild_model(MODEL, state))
    model = open_clip.create_model(f"local-dir:{folder}")
    assert model.logit_bias.item() == -3.5


def test_quick_gelu_of_openai_s_weights_and_the_preprocessing_of_training_are_exported(folder):
    assert architecture(ModelSettings(name="ViT-B-16", pretrained="openai"))["quick_gelu"] is True
    config = json.loads((folder / "open_clip_config.json").read_text())
    assert not config["model_cfg"].get("quick_gelu")
    statistics = {"mean": list(open_clip.OPENAI_DATASET_MEAN), "std": list(open_clip.OPENAI_DATASET_STD)}
    fixed = {"mode": "RGB", "interpolation": "bicubic", "resize_mode": "squash"}
    assert config["preprocess_cfg"] == {"size": 32} | fixed | statistics


def test_perceptron_heads_are_refused_because_open_clip_does_not_know_them(tmp_path):
    run_dir = made_run(tmp_path, settings=TRAIN.model_copy(update={"mode": "head"}))
    with pytest.raises(TrainingError, match="run of another mode"):
        merged(load_run_model(run_dir))


def test_a_model_and_its_features_take_three_lines(folder, run_dir, tmp_path):
    (tmp_path / "tile.png").write_bytes(encoded(made_tile(64)))
    other = made_tile(64, seed=1)
    model = hubbleclip.load_model(str(folder))
    model.batch_size = 2
    colour = Image.merge("RGB", [made_tile(64, seed=seed) for seed in (2, 3, 4)])
    feat_nd = model.embed([tmp_path / "tile.png", other, "a comet", np.array(other), "a spiral galaxy"] * 5)
    assert np.allclose(*model.embed([colour, colour.convert("L")]), atol=1e-6)
    loaded = load_run_model(run_dir)
    levels = [decode_resized(encoded(one), 32) for one in (made_tile(64), other)]
    images = loaded.encode_images(torch.from_numpy(np.stack(levels))[:, None])
    expected = torch.cat([loaded.encode_texts(["a comet", "a spiral galaxy"]), images])
    assert feat_nd.dtype == np.float32
    assert np.allclose(feat_nd, expected[[2, 3, 0, 3, 1] * 5].numpy(), atol=1e-6)
    assert np.allclose(hubbleclip.load_model(run_dir).embed(["a comet"]), feat_nd[2:3], atol=1e-6)


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([], "at least one"),
        ("a comet", "a list"),
        (["a comet", "tile.JPEG"], "pathlib.Path"),
        ([Path("absent.png")], "absent.png"),
        ([np.zeros((2, 2, 7))], "uint8"),
    ],
    ids=["nothing", "one text", "name of a picture", "no file", "no picture"],
)
def test_what_cannot_be_embedded_is_one_line(items, message, folder):
    with pytest.raises(TrainingError, match=message) as caught:
        hubbleclip.load_model(folder).embed(items)
    assert "\n" not in str(caught.value)


class Harmful:
    def __reduce__(self):
        return (print, ("executed",))


def test_weights_that_hold_code_are_refused_and_not_executed(folder, tmp_path, capsys):
    (tmp_path / "open_clip_config.json").write_bytes((folder / "open_clip_config.json").read_bytes())
    (tmp_path / "open_clip_pytorch_model.bin").write_bytes(pickle.dumps({"logit_scale": Harmful()}, protocol=2))
    with pytest.raises(TrainingError, match="does not load"):
        hubbleclip.load_model(tmp_path)
    assert "executed" not in capsys.readouterr().out


@pytest.mark.parametrize("name", [WEIGHTS, "open_clip_config.json"])
def test_a_damaged_folder_is_one_line(name, folder, tmp_path):
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:50])
    with pytest.raises(TrainingError, match="export it again") as caught:
        hubbleclip.load_model(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("text", "raised"), [("No space left on device", DiskFullError), ("odd", TrainingError)])
def test_weights_that_cannot_be_written_are_one_line(run_dir, tmp_path, monkeypatch, text, raised):
    monkeypatch.setattr(open_clip_folder, "save_file", Mock(side_effect=SafetensorError(f"I/O error: {text}")))
    with pytest.raises(raised, match=f"{WEIGHTS} cannot be written|{tmp_path} cannot be written"):
        write_open_clip(merged(load_run_model(run_dir)), tmp_path)


def test_a_folder_without_a_model_says_so(tmp_path):
    with pytest.raises(TrainingError, match="hubbleclip export"):
        hubbleclip.load_model(tmp_path)


@pytest.mark.parametrize(
    ("write", "package", "option"),
    [(write_onnx, "onnxruntime", "--no-onnx"), (write_transformers, "transformers", "--no-transformers")],
)
def test_an_export_without_its_packages_says_what_to_install(run_dir, tmp_path, monkeypatch, write, package, option):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(SettingsError, match=rf"{option}.*hubbleclip\[export\]"):
        write(merged(load_run_model(run_dir)), tmp_path)


def test_each_tower_is_written_to_onnx_with_its_names_and_large_weights_in_a_file_of_their_own(monkeypatch, tmp_path):
    written = {}

    class Session:
        def __init__(self, path):
            self.one = written[path.name]

        def run(self, _, inputs):
            (name,) = self.one["input_names"]
            return [self.one["tower"](torch.from_numpy(inputs[name])).numpy()]

    def export(tower, example, path, **options):
        written[path.name] = options | {"tower": tower, "size": len(example[0])}

    monkeypatch.setattr(torch.onnx, "export", export)
    monkeypatch.setitem(sys.modules, "onnxscript", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "onnxruntime", SimpleNamespace(InferenceSession=Session))
    loaded = merged(load_model(MODEL, 1))
    size_bytes = sum(one.nbytes for one in loaded.model.parameters())
    for limit, is_beside in ((size_bytes, False), (size_bytes - 1, True)):
        monkeypatch.setattr(onnx_towers, "MAX_INLINE_BYTES", limit)
        write_onnx(loaded, tmp_path)
        found = {key: (*one["input_names"], *one["output_names"], one["external_data"]) for key, one in written.items()}
        assert found == {
            "image_tower.onnx": ("pixel_values", "image_features", is_beside),
            "text_tower.onnx": ("input_ids", "text_features", is_beside),
        }
        # a batch of one would be a constant of the graph
        assert [(*one["dynamic_shapes"][0], one["size"]) for one in written.values()] == [(0, 2)] * 2
    assert torch.allclose(written["text_tower.onnx"]["tower"](loaded.tokenizer(TEXTS)).norm(dim=1), torch.ones(3))
    monkeypatch.setattr(probes, "TOLERANCE", -1)
    with pytest.raises(TrainingError, match="export without ONNX"):
        write_onnx(loaded, tmp_path)


def test_only_vision_transformers_of_openai_s_kind_have_a_clip_model():
    others = ["RN50", "hubbleclip-tiny", "ViT-B-16-SigLIP2", "EVA02-B-16", "convnext_base", "roberta-ViT-B-32"]
    names = ["ViT-B-32", "ViT-B-16", "ViT-L-14-336", *others]
    has_model = [has_clip_config(architecture(ModelSettings(name=name, pretrained=""))) for name in names]
    assert has_model == [True] * 3 + [False] * len(others)


@pytest.mark.parametrize("tower", ["image", "text"])
@pytest.mark.parametrize(("turn", "is_equal"), [(5e-5, True), (1e-3, False), (math.nan, False)])
def test_an_exported_tower_may_scale_features_but_not_turn_them(run_dir, tower, turn, is_equal):
    loaded = load_run_model(run_dir)
    towers = {"image": loaded.model.encode_image, "text": loaded.model.encode_text}

    def changed(inputs):
        features = torch.nn.functional.normalize(towers[tower](inputs), dim=-1)
        features[2, 0] += turn  # of the last of three
        return 7 * features

    other = {name: changed if name == tower else encode for name, encode in towers.items()}
    if is_equal:
        probes.require_equal("ONNX", loaded, other["image"], other["text"])
    else:
        with pytest.raises(
            TrainingError, match=rf"the {tower} features of the ONNX model differ by .*export without ONNX"
        ):
            probes.require_equal("ONNX", loaded, other["image"], other["text"])


@pytest.mark.parametrize(("width", "height"), [(64, 32), (32, 20), (32, 64), (40, 20)])
def test_an_oblong_picture_is_resized_as_in_training(width, height, folder):
    tile = made_tile(64).crop((0, 0, width, height))
    pixels = preprocess.preprocess(tile, folder / "open_clip_config.json")
    square = Image.fromarray(decode_resized(encoded(tile), 32))
    assert np.array_equal(pixels, preprocess.preprocess(square, folder / "open_clip_config.json"))


def test_weights_are_exported_in_full_precision_and_evaluation_mode(run_dir):
    loaded = load_run_model(run_dir)
    loaded.model.to(torch.bfloat16).train()
    made = merged(loaded).model
    assert {weight.dtype for weight in made.parameters()} == {torch.float32}
    assert not made.training


def test_a_bias_or_another_tokenizer_has_no_clip_model(run_dir):
    loaded = load_run_model(run_dir)
    assert has_clip_layers(loaded)
    assert not has_clip_layers(replace(loaded, tokenizer=lambda texts: texts))
    loaded.model.logit_bias = torch.nn.Parameter(torch.zeros(()))
    assert not has_clip_layers(loaded)


def test_the_configuration_is_published_behind_all_files_that_it_needs(folder, monkeypatch, tmp_path):
    folder, sent = shutil.copytree(folder, tmp_path / "model"), []
    (folder / "notes").mkdir()
    storage = SimpleNamespace(upload=lambda path, address: sent.append((path.name, address)))
    monkeypatch.setattr("hubbleclip.training.models.trained_model.open_storage", lambda url: storage)
    assert publish_model(folder, "s3://bucket/model/") == "s3://bucket/model"
    names = [name for name, _ in sent]
    assert names[-1] == "open_clip_config.json"
    assert sorted(names) == sorted(path.name for path in folder.iterdir() if path.is_file())
    assert [address for _, address in sent] == [f"s3://bucket/model/{name}" for name in names]
    monkeypatch.setattr(
        "hubbleclip.training.models.trained_model.commit_to_hub", lambda *given: sent.append(given) or "commit"
    )
    assert publish_model(folder, "hf://made/model") == "commit"
    assert (sent[-1][0], list(sent[-1][1])) == ("hf://made/model", names)
    with pytest.raises(TrainingError, match="is no exported model"):
        publish_model(folder.parent, "s3://bucket/model/")


def test_a_clip_model_has_the_ratios_and_the_activation_of_the_configuration(monkeypatch):
    config = architecture(MODEL) | {"quick_gelu": True}
    config["vision_cfg"]["mlp_ratio"], config["text_cfg"]["mlp_ratio"] = 2.0, 3.0
    monkeypatch.setattr("hubbleclip.training.export.transformers_clip.architecture", lambda settings: config)
    made = clip_config(load_model(MODEL, 1))
    towers = made["vision_config"], made["text_config"]
    assert [tower["intermediate_size"] for tower in towers] == [64, 48]
    assert [tower["hidden_act"] for tower in towers] == ["quick_gelu", "quick_gelu"]


def test_the_tokenizer_of_transformers_has_the_words_and_the_context_of_the_model(tmp_path, monkeypatch):
    transformers = pytest.importorskip("transformers")
    loaded = load_model(MODEL.model_copy(update={"context_length": 90}), 1)
    loaded.model.logit_scale.data.fill_(4.5)
    write_transformers(loaded, tmp_path)
    assert transformers.CLIPModel.from_pretrained(tmp_path).logit_scale == 4.5
    tokenizer = transformers.CLIPTokenizer.from_pretrained(tmp_path)
    assert tokenizer.model_max_length == 90
    assert len(tokenizer("a comet " * 100, truncation=True).input_ids) == 90
    text = "Spectroscopy of protoplanetary nebulae, z = 0.5"
    tokens = tokenizer(text).input_ids
    assert tokens == loaded.tokenizer([text])[0, : len(tokens)].tolist()
    monkeypatch.setattr(probes, "TOLERANCE", -1)
    with pytest.raises(TrainingError, match="export without transformers"):
        write_transformers(loaded, tmp_path)


@pytest.fixture(scope="module")
def strange(tmp_path_factory):
    return make_clip(tmp_path_factory.mktemp("made") / "model")


@pytest.mark.parametrize(
    ("place", "change", "problem"),
    [
        ("text_cfg", {"tokenizer_kwargs": {"trust_remote_code": True}}, "unknown key 'trust_remote_code'"),
        ("text_cfg", {"tokenizer_kwargs": {"tokenizer_file": "/etc/passwd"}}, "tokenizer_kwargs has a key"),
        ("vision_cfg", {"norm_kwargs": {"elementwise_affine": 0}}, "norm_kwargs has a key"),
        ("model_cfg", {"auto_map": {}}, "unknown key 'auto_map'"),
        ("model_cfg", {"trust_remote_code": [[]]}, "unknown key 'trust_remote_code'"),
        ("vision_cfg", {"patch_dropouts": 1}, "unexpected keyword argument 'patch_dropouts'.*export it again"),
        ("text_cfg", {"hf_model_name": "evil/evil"}, r"No such file .*config\.json"),
        ("text_cfg", {"hf_tokenizer_name": "evil/evil"}, "none of the tokenizer files"),
        ("model_cfg", {"multimodal_cfg": {}}, r"is a CoCa model.*set model\.name"),
        ("vision_cfg", {"timm_model_name": "hf-hub:evil/evil"}, "timm_model_name"),
        ("text_cfg", {"own_context_length": -1}, "own_context_length is -1"),
        ("vision_cfg", {"layers": 257}, "layers is 257, which is out of range"),
        ("vision_cfg", {"image_size": [32, [1 << 21]]}, "image_size is 2097152"),
        ("vision_cfg", {"width": 10**6}, "MB of memory"),
        ("text_cfg", {"vocab_size": float("nan")}, "vocab_size is nan"),
        ("preprocess_cfg", {"mean": "abc"}, "does not load"),
    ],
    ids=str,
)
def test_a_configuration_with_an_unknown_key_or_an_odd_size_is_refused(place, change, problem, strange, tmp_path):
    for path in strange.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    config = json.loads((strange / "open_clip_config.json").read_text())
    places = {**config, **config["model_cfg"], "model_cfg": config["model_cfg"]}
    places[place].update(change)
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(TrainingError, match=problem) as caught:
        hubbleclip.load_model(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_configuration_may_describe_its_model(strange, tmp_path):
    path = shutil.copytree(strange, tmp_path / "copy") / "open_clip_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"license": "MIT", "description": ["squares"]}))
    hubbleclip.load_model(path.parent)


def test_a_folder_without_weights_that_open_clip_reads_is_refused(strange, tmp_path):
    (tmp_path / "open_clip_config.json").write_bytes((strange / "open_clip_config.json").read_bytes())
    torch.save({}, tmp_path / "model.pt")
    with pytest.raises(TrainingError, match="no file of weights"):
        hubbleclip.load_model(tmp_path)


@pytest.mark.parametrize(("kind", "num_names"), [(zipfile.ZIP_DEFLATED, 1), (zipfile.ZIP_STORED, 2)])
def test_weights_that_take_more_memory_than_their_file_are_refused_also_beside_others(
    kind, num_names, strange, tmp_path
):
    for path in strange.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    with zipfile.ZipFile(tmp_path / "model.pth", "w", kind) as archive:
        archive.writestr("data.pkl", bytes(1_000_000))
        archive.filelist *= num_names  # of the same bytes
    with pytest.raises(TrainingError, match="model.pth is compressed"):
        hubbleclip.load_model(tmp_path)
