"""What the lists of runs, datasets and reports say."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from valid_catalog import dataset, make

from benchmarks.synthetic_catalog import synthetic_rows
from hubbleclip.catalog.working_copy import writing_catalog
from hubbleclip.core.layout import Layout
from hubbleclip.core.records import Metric, Report
from hubbleclip.pipeline.history import list_datasets, list_reports, list_runs
from hubbleclip.training.runs import REQUIRED_FACTS

DAY = datetime(2026, 11, 27, 13, 40, tzinfo=UTC)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """Run `1` is evaluated, run `2` is a control that still trains; dataset `b` is newer than `a`."""
    layout = Layout(tmp_path)
    for run_id, status in (("1", "finished"), ("2", "running")):
        facts = dict.fromkeys(REQUIRED_FACTS) | {"run_id": run_id, "status": status, "is_shuffled": run_id == "2"}
        facts |= {"started_at": DAY.isoformat(), "model": "tiny", "steps": 5, "dataset_digest": "d"}
        (layout.runs / run_id).mkdir(parents=True)
        (layout.runs / run_id / "run.json").write_text(json.dumps(facts))
    figures = {"name": "i2t_accuracy_at_10pct", "value": 0.8162, "low": 0.651, "high": 0.925}
    metric = make(Metric, run_id="1", split="test", model="fine_tuned", **figures)
    report = Report(report_id="1-r", run_id="1", settings_digest="s", path="reports/1-r", made_at=DAY)
    older = dataset("1")
    with writing_catalog(layout) as catalog:
        catalog.upsert(
            {
                "metric": [metric, replace(metric, model="base", value=0.1)],
                "report": [report],
                "run": synthetic_rows("run", 1, run_id="1"),
                "dataset": [older, replace(dataset("2"), built_at=older.built_at.replace(year=2100))],
            }
        )
    compared = layout.reports / "1-beside-2"
    compared.mkdir(parents=True)
    (compared / "index.html").touch()
    return layout


def test_runs_are_listed_with_state_control_and_headline(layout: Layout) -> None:
    newest, oldest = list_runs(layout)
    assert (newest["run_id"], newest["state"], newest["headline"]) == ("2", "killed", None)
    assert newest["training"] == "control: tiny on shuffled pairs"
    assert (oldest["started_at"], oldest["training"], oldest["headline"]) == (
        "2026-11-27 13:40",
        "tiny",
        "81.6 % (65.1-92.5)",
    )


def test_datasets_are_listed_the_newest_first(layout: Layout) -> None:
    newest, _ = list_datasets(layout)
    assert newest["built_at"].startswith("2100")


def test_reports_are_listed_with_their_page_and_comparisons_too(layout: Layout) -> None:
    rows = {row["report_id"]: row for row in list_reports(layout)}
    assert rows["1-r"]["headline"] == "81.6 % (65.1-92.5)"
    assert rows["1-r"]["page"] == str(layout.reports / "1-r/index.html")
    assert rows["1-beside-2"]["run_id"] == "1"
