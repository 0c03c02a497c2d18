"""The command that learns from press pictures and their captions, on a few of them."""

import json
import shutil
from pathlib import Path

import pytest
from commands import run

PICTURES = Path(__file__).parents[2].parent / "shared/data/esahubble"
NUM_PICTURES = 60
PAIRS = {"module": "experiments.pairs", "profile": str(Path(__file__).parents[2] / "experiments/pairs/pairs.toml")}

pytestmark = [
    pytest.mark.real,
    pytest.mark.nightly,
    pytest.mark.skipif(not PICTURES.is_dir(), reason="the press pictures are absent"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("press")
    (folder / "images").mkdir()
    lines = (PICTURES / "captions.jsonl").read_text().splitlines()[:NUM_PICTURES]
    for line in lines:
        name = f"images/{json.loads(line)['id']}.jpg"
        shutil.copy(PICTURES / name, folder / name)
    (folder / "captions.jsonl").write_text("\n".join(lines))
    return folder


def results_of(data: Path) -> dict:
    (found,) = data.glob("pairs/reports/*/pairs.json")
    assert (found.parent / "queries.png").stat().st_size > 10_000
    return json.loads(found.read_text())


def test_what_is_learnt_in_folds_finds_more_than_untrained_towers(folder: Path, tmp_path: Path) -> None:
    words = (str(folder), "--folds", "3", "--draws", "1")
    done = run(*words, data=tmp_path, **PAIRS, settings={"train.steps": 10, "evaluation.bootstrap": 200})
    assert done.code == 0, done.err
    assert "untrained" in done.out
    found = results_of(tmp_path)
    ours, before = (
        next(row for row in found["rows"] if row["method"] == way and row["draw"] == "all")
        for way in ("aligned", "untrained")
    )
    assert found["num_pictures"] == NUM_PICTURES
    assert found["num_groups"] < NUM_PICTURES
    assert ours["i2t_auc"][0] > before["i2t_auc"][0]
    asked = run(str(folder), "--ask", "a supernova remnant", data=tmp_path, **PAIRS)
    assert asked.code == 0, asked.err
    assert "heic" in asked.out


def test_a_test_folder_of_the_same_objects_is_refused_unless_they_are_dropped(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    lines = (other / "captions.jsonl").read_text().splitlines()
    (other / "captions.jsonl").write_text("\n".join(lines[NUM_PICTURES // 2 :]))
    words = (str(folder), "--test", str(other), "--draws", "1")
    done = run(*words, data=tmp_path / "data", **PAIRS, settings={"train.steps": 2, "evaluation.bootstrap": 100})
    assert done.code == 2
    assert "--drop-related" in done.err
    assert lines[-1].split('"')[3] in done.err or "; ..." in done.err
