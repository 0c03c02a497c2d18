"""A grid of settings: what is tried, what is refused, and the table at the end."""

import shutil
from pathlib import Path

import pytest
from commands import SMALL, run

from hubbleclip.config.toml import nested, read_grid
from hubbleclip.core.errors import SettingsError
from hubbleclip.pipeline.train import combinations

GRID = '[train]\nloss = ["multi_positive", "info_nce"]\nseed = [1, 2]\n'


def written(folder: Path, text: str) -> Path:
    (folder / "grid.toml").write_text(text)
    return folder / "grid.toml"


def test_every_combination_is_tried_once_in_order(tmp_path) -> None:
    tried = list(combinations(read_grid(written(tmp_path, GRID))))
    assert [tuple(values.values()) for values in tried] == [
        ("multi_positive", 1),
        ("multi_positive", 2),
        ("info_nce", 1),
        ("info_nce", 2),
    ]
    assert list(tried[0]) == ["train.loss", "train.seed"]


def test_values_by_their_names_are_tables() -> None:
    values = {"data": "here", "train.seed": 1, "train.captions.summary": 2, "model.name": "towers"}
    assert nested(values) == {
        "data": "here",
        "train": {"seed": 1, "captions": {"summary": 2}},
        "model": {"name": "towers"},
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[train]\nseed = 3\n", "train.seed"),
        ("[train]\nseed = []\n", "train.seed"),
        ("", "any setting"),
        ("[", "cannot be read"),
    ],
)
def test_what_is_no_grid_is_refused(tmp_path, text, message) -> None:
    with pytest.raises(SettingsError, match=message):
        read_grid(written(tmp_path, text))


@pytest.mark.slow
def test_a_sweep_ends_in_a_table_with_the_best_first_and_trains_nothing_twice(finished_demo, tmp_path) -> None:
    data = shutil.copytree(finished_demo, tmp_path / "data", ignore=shutil.ignore_patterns("runs"))
    grid = written(tmp_path, "[train]\nseed = [1, 2]\n")
    words = ("train", "--sweep", str(grid), "--no-server")
    first = run(*words, data=data, settings=SMALL)
    assert first.code == 0, first.err
    rows = [line.split("│")[1:-1] for line in first.out.splitlines() if line.startswith("│")]
    assert sorted(row[0].strip() for row in rows) == ["1", "2"]
    scores = [float(row[-1]) for row in rows]
    assert scores == sorted(scores, reverse=True)
    again = run(*words, data=data, settings=SMALL)
    assert again.out == first.out and len(list((data / "demo/runs").iterdir())) == 2
