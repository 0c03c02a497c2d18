"""The studies on a small demo: they compare the arms, and train nothing twice."""

import json
from pathlib import Path

import pytest
from commands import SMALL, run, settings_at

from experiments.captions.report import ARMS as CAPTION_ARMS
from experiments.captions.report import COLUMNS, measure, with_captions
from experiments.study.__main__ import PAGE, publish
from experiments.study.comparisons import ARMS, CLEAN, COMPARISONS, RANDOM_TILES, TESTED, table


def test_the_page_has_the_figures_of_its_data_and_is_written_from_them(tmp_path, monkeypatch) -> None:
    results = json.loads((Path(__file__).parents[2] / "docs/demo/study.json").read_text(encoding="utf-8"))
    assert table(results) in PAGE.read_text(encoding="utf-8")
    page = tmp_path / "README.md"
    page.write_text("<!-- study -->old<!-- end of study -->")
    monkeypatch.setattr("experiments.study.__main__.PAGE", page)
    publish(results, tmp_path)
    assert table(results) in page.read_text(encoding="utf-8")
    assert json.loads((tmp_path / "study.json").read_text()) == results


@pytest.mark.nightly
def test_a_study_compares_the_arms_and_reuses_finished_runs(tmp_path) -> None:
    words = ("--steps", "2", "--num-seeds", "1")
    first = run(*words, data=tmp_path, settings=SMALL, module="experiments.study")
    assert first.code == 0, first.err
    path = tmp_path / "demo/study/study.json"
    results = json.loads(path.read_text())
    assert {one["name"] for one in results["questions"]} == set(COMPARISONS)
    counts = {name: one["counts"] for name, one in results["datasets"].items()}
    assert counts[TESTED]["train"]["samples"] == counts[TESTED]["val"]["samples"] == 0
    assert (
        0 < counts[TESTED]["test"]["samples"] < min(counts[name]["test"]["samples"] for name in (CLEAN, RANDOM_TILES))
    )
    runs = {run_dir.name for run_dir in (tmp_path / "demo/study/runs").iterdir()}
    assert len(runs) == len(ARMS)
    again = run(*words, data=tmp_path, settings=SMALL, module="experiments.study")
    assert again.code == 0, again.err
    results_again = json.loads(path.read_text())
    assert results_again["datasets"] == results["datasets"]
    for one, other in zip(results["arms"], results_again["arms"], strict=True):
        assert other["value"] == pytest.approx(one["value"], abs=0.02)  # scores of untrained models are nearly ties
    assert {run_dir.name for run_dir in (tmp_path / "demo/study/runs").iterdir()} == runs
    result = measure(with_captions(settings_at(tmp_path), steps=2), num_seeds=1)
    names = [row["name"] for row in result["rows"]]
    assert names == ["abstracts", "summaries", "summaries minus abstracts", "both", "both minus abstracts"]
    assert all(low <= value <= high for row in result["rows"] for value, low, high in (row[key] for key in COLUMNS))
    assert len(list((tmp_path / "demo/caption-study/runs").iterdir())) == len(CAPTION_ARMS)
