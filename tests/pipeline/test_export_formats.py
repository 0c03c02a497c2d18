"""`hubbleclip export` and `publish --model`: the folder is loaded where hubbleclip is not imported, and by a hub."""

import json
import os
import re
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from finished_runs import made_run, run_command
from model_hub import model_hub
from squares_dataset import make_dataset

from hubbleclip.config.settings import read_settings
from hubbleclip.core.errors import DatasetError, HubbleclipError, SettingsError, TrainingError
from hubbleclip.dataset.manifest import read_dataset
from hubbleclip.dataset.reader import decode_resized, open_split
from hubbleclip.pipeline.export import export
from hubbleclip.training.checkpoints import load_run_model
from hubbleclip.training.models.trained_model import publish_model

TEXTS = ["a spiral galaxy"]
PRINT = """
import json
tile = Image.open("tile.png")
bicubic = AutoImageProcessor.from_pretrained("DIR")(tile, return_tensors="pt")["pixel_values"]
resized = open_clip.create_model_and_transforms("local-dir:DIR")[2](tile)[None]
others = [CLIPModel.from_pretrained("DIR").eval()(pixel_values=one, input_ids=words) for one in (bicubic, resized)]
cosines = [(found.image_embeds @ one.image_embeds.T).item() for one in others]
features = [found.image_embeds, found.text_embeds, image_features, text_features]
ours = [name for name in sys.modules if name.startswith("hubbleclip")]
rows = [one.tolist() for one in (image, text, *features)]
print(json.dumps({"features": rows, "ours": ours, "cosines": cosines}))
from transformers import AutoProcessor, pipeline
AutoProcessor.from_pretrained("DIR")(images=Image.open("tile.png"), text=["a comet"])
assert len(pipeline("zero-shot-image-classification", model="DIR")("tile.png", candidate_labels=["a", "b"])) == 2
"""
ENVIRONMENTS = {"newest": "transformers==5.24.0", "oldest": "transformers==4.57.6"}
REPORT = {
    "dataset_digest": "d1",
    "num_tiles": 9,
    "num_captions": 4,
    "num_groups": 4,
    "metrics": [
        {"protocol": "fair", "model": model, "name": "i2t_accuracy_at_10pct", "value": value, "low": 0.1, "high": 0.9}
        for model, value in (("fine_tuned", 0.5), ("base", 0.25), ("random", 0.1))
    ],
}


@pytest.fixture(scope="module")
def profile(tmp_path_factory):
    """The folder of a profile with a dataset, a finished run on it and a report."""
    root = tmp_path_factory.mktemp("data") / "demo"
    dataset_dir = make_dataset(root / "datasets")
    run_dir = made_run(root, digest=dataset_dir.name)
    report = root / "reports" / f"{run_dir.name}-01234567" / "metrics.json"
    report.parent.mkdir(parents=True)
    report.write_text(json.dumps(REPORT))
    return root, dataset_dir, run_dir


@pytest.fixture(scope="module")
def exported(profile, tmp_path_factory):
    root, _, run_dir = profile
    out_dir = tmp_path_factory.mktemp("exported") / "model"
    (out_dir.parent / ".model.building/old").mkdir(parents=True)  # of an export that was killed
    run_command("export", run_dir.name[:20], out_dir, "--data", root.parent, "--no-transformers", "--no-onnx")
    return out_dir


def python_of(kind: str, folder: Path) -> Path:
    """The interpreter of an environment that has our packages, behind one of transformers."""
    venv.create(folder, with_pip=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "ours.pth").write_text(sysconfig.get_path("purelib") + "\n")
    install = [folder / "bin/python", "-m", "pip", "install", "--quiet", ENVIRONMENTS[kind]]
    subprocess.run(install, check=True, timeout=250)
    return folder / "bin/python"


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param("", marks=pytest.mark.slow),
        *(pytest.param(kind, marks=[pytest.mark.slow, pytest.mark.nightly]) for kind in ENVIRONMENTS),
    ],
    ids=["ours", *ENVIRONMENTS],
)
def test_the_code_of_the_card_gives_the_features_of_the_run(kind, profile, tmp_path):
    root, dataset_dir, run_dir = profile
    folder = export(str(run_dir), tmp_path / "model", read_settings("demo", {"data": str(root.parent)}))
    info = read_dataset(dataset_dir)
    tile_id = open_split(info, "test").rows["tile_id"][0].as_py()
    (tile,) = info.read_tile_images([tile_id])  # 64 px, and the input of the model has 32
    (tmp_path / "tile.png").write_bytes(tile)
    blocks = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    code = "".join(block for block in blocks if "hubbleclip" not in block) + PRINT
    python = python_of(kind, tmp_path / "environment") if kind else sys.executable
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [python, "-I", "-c", code.replace("DIR", str(folder))],
        cwd=tmp_path,
        env=environment | {"HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["ours"] == []
    loaded = load_run_model(run_dir)
    levels = torch.from_numpy(decode_resized(tile, loaded.image_size).copy())[None, None]
    expected = [loaded.encode_images(levels).numpy(), loaded.encode_texts(TEXTS).numpy()]
    for ours, theirs in zip(3 * expected, found["features"], strict=True):
        assert np.abs(ours - np.array(theirs)).max() < 3e-7
    deviations = 1 - np.array(found["cosines"])  # of the bicubic inputs of transformers and open_clip
    assert deviations.min() > 1e-6
    assert np.ptp(deviations) < deviations.min() / 2


def test_the_card_names_data_metrics_licence_and_limits(profile, exported):
    _, dataset_dir, run_dir = profile
    _, head, text = (exported / "README.md").read_text().split("---\n", 2)
    front = yaml.safe_load(head)
    assert front["library_name"] == "open_clip"
    assert (front["license"], front["license_link"]) == ("other", "LICENSE.md")
    assert text.endswith((exported / "LICENSE.md").read_text().removeprefix("#"))
    for said in (
        run_dir.name,
        dataset_dir.name,
        "**This sky is simulated.**",
        "12 tiles in train",
        "## Limits",
        "| this model | 50.0 % (10.0-90.0)",
        "| base model | 25.0 %",
        "Forgetting was not measured",
        "Simulated by hubbleclip",
        "Licence: CC0 1.0",
        "sys.path.insert",
        "step 4, 16 samples seen",
    ):
        assert said in text, said


def test_all_files_have_the_permissions_of_a_new_file(exported, tmp_path):
    (tmp_path / "new").touch()
    assert {path.stat().st_mode for path in exported.iterdir()} == {(tmp_path / "new").stat().st_mode}


def test_an_export_never_replaces_a_folder(profile, exported):
    root, _, run_dir = profile
    with pytest.raises(HubbleclipError, match="does not exist"):
        export(run_dir.name, exported, read_settings("demo", {"data": str(root.parent)}))


def test_a_failed_export_leaves_nothing(profile, tmp_path, monkeypatch):
    root, _, run_dir = profile
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(SettingsError, match="--no-onnx"):
        export(run_dir.name, tmp_path / "model", read_settings("demo", {"data": str(root.parent)}), transformers=False)
    assert list(tmp_path.iterdir()) == []


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_model_is_published_to_a_folder(exported, tmp_path, capsys):
    run_command("publish", "--model", exported, tmp_path / "there")
    assert capsys.readouterr().out.strip() == str(tmp_path / "there")
    assert files_of(tmp_path / "there") == files_of(exported)


def test_a_model_is_published_to_a_hub_with_the_token_of_the_environment(exported, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "secret")
    with model_hub("secret") as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        address = publish_model(exported, "hf://me/model")
    assert address.endswith("/me/model")
    assert hub.stored == {"me/model": files_of(exported)}


def test_a_hub_that_refuses_the_token_is_one_line_without_it(exported, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "wrong-token")
    with model_hub("secret") as hub, pytest.raises(DatasetError, match="credentials") as caught:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        publish_model(exported, "hf://me/model")
    assert "wrong-token" not in str(caught.value)
    assert hub.stored == {}


def test_a_hub_needs_a_token_and_a_folder_needs_a_model(exported, tmp_path, monkeypatch):
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    with pytest.raises(DatasetError, match="HF_TOKEN"):
        publish_model(exported, "hf://me/model")
    with pytest.raises(TrainingError, match="hubbleclip export"):
        publish_model(tmp_path, str(tmp_path / "there"))
    monkeypatch.setenv("HF_TOKEN", "secret")
    with pytest.raises(DatasetError, match="hf://owner/name"):
        publish_model(exported, "hf://me/model/too/long")
