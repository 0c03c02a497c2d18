"""A stranger's folder of a model runs no code, fetches nothing and takes no more memory than its weights."""

import json
import zipfile

import pytest
import torch

import hubbleclip
from hubbleclip.core.errors import TrainingError
from tests.attack.model_folders import make_clip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_clip(tmp_path_factory.mktemp("made") / "model")


@pytest.mark.parametrize(
    ("place", "change", "problem"),
    [
        ("text_cfg", {"tokenizer_kwargs": {"trust_remote_code": True}}, "unknown key 'trust_remote_code'"),
        ("model_cfg", {"auto_map": {}}, "unknown key 'auto_map'"),
        ("text_cfg", {"hf_model_name": "evil/evil"}, r"No such file .*config\.json"),
        ("text_cfg", {"hf_tokenizer_name": "evil/evil"}, "no tokenizer"),
        ("model_cfg", {"multimodal_cfg": {}}, r"is a CoCa model.*set model\.name"),
        ("vision_cfg", {"timm_model_name": "hf-hub:evil/evil"}, "timm_model_name"),
        ("vision_cfg", {"layers": 10**6}, "layers is 1000000"),
        ("vision_cfg", {"width": 10**6}, "MB of memory"),
        ("text_cfg", {"vocab_size": float("nan")}, "vocab_size is nan"),
        ("preprocess_cfg", {"mean": "abc"}, "does not load"),
    ],
    ids=str,
)
def test_a_configuration_with_an_unknown_key_or_an_odd_size_is_refused(place, change, problem, folder, tmp_path):
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    config = json.loads((folder / "open_clip_config.json").read_text())
    places = {**config, **config["model_cfg"], "model_cfg": config["model_cfg"]}
    places[place].update(change)
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(TrainingError, match=problem) as caught:
        hubbleclip.load_model(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_folder_without_weights_that_open_clip_reads_is_refused(folder, tmp_path):
    (tmp_path / "open_clip_config.json").write_bytes((folder / "open_clip_config.json").read_bytes())
    torch.save({}, tmp_path / "model.pt")
    with pytest.raises(TrainingError, match="no file of weights"):
        hubbleclip.load_model(tmp_path)


@pytest.mark.parametrize(("kind", "num_names"), [(zipfile.ZIP_DEFLATED, 1), (zipfile.ZIP_STORED, 2)])
def test_weights_that_take_more_memory_than_their_file_are_refused_also_beside_others(
    kind, num_names, folder, tmp_path
):
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    with zipfile.ZipFile(tmp_path / "model.pth", "w", kind) as archive:
        archive.writestr("data.pkl", bytes(1_000_000))
        archive.filelist *= num_names  # of the same bytes
    with pytest.raises(TrainingError, match="model.pth is compressed"):
        hubbleclip.load_model(tmp_path)
