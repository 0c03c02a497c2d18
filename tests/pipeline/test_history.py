"""What the lists of runs, datasets and reports say."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from valid_catalog import dataset, make, promotion

from benchmarks.synthetic_catalog import synthetic_rows
from hubbleclip.catalog.working_copy import writing_catalog
from hubbleclip.core.layout import Layout
from hubbleclip.core.records import Metric, Report
from hubbleclip.pipeline.history import list_datasets, list_reports, list_runs
from hubbleclip.training.runs import REQUIRED_FACTS

DAY = datetime(2026, 11, 27, 13, 40, tzinfo=UTC)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """Run `1` is evaluated and promoted, run `2` is a control that still trains; dataset `b` is newer than `a`."""
    layout = Layout(tmp_path)
    for run_id, status in (("1", "finished"), ("2", "running")):
        facts = dict.fromkeys(REQUIRED_FACTS) | {"run_id": run_id, "status": status, "is_shuffled": run_id == "2"}
        facts |= {"started_at": DAY.isoformat(), "model": "tiny", "steps": 5, "dataset_digest": "d"}
        (layout.runs / run_id).mkdir(parents=True)
        (layout.runs / run_id / "run.json").write_text(json.dumps(facts))
    figures = {"name": "i2t_accuracy_at_10pct", "value": 0.8162, "low": 0.651, "high": 0.925}
    metric = make(Metric, run_id="1", split="test", model="fine_tuned", **figures)
    report = Report(report_id="1-r", run_id="1", settings_digest="s", path="reports/1-r", made_at=DAY)
    older = dataset("1", num_samples=7, num_new_samples=5, num_shards=3)
    with writing_catalog(layout) as catalog:
        catalog.upsert(
            {
                "metric": [metric, replace(metric, model="base", value=0.1)],
                "report": [report],
                "run": synthetic_rows("run", 1, run_id="1", path="runs/1"),
                "promotion": [promotion("1", None, None)],
                "dataset": [older, replace(older, digest="2" * 32, built_at=older.built_at.replace(year=2100))],
            }
        )
    compared = layout.reports / "1-beside-2"
    compared.mkdir(parents=True)
    os.utime(compared, (0, 0))
    return layout


def test_runs_datasets_and_reports_are_listed_the_newest_first(layout: Layout) -> None:
    shared = {"started_at": "2026-11-27 13:40", "steps": 5, "dataset": "d"}
    best, headline = {"run_id": "1", "state": "promoted", "training": "tiny"}, "81.6 % (65.1-92.5)"
    control = {"run_id": "2", "state": "killed", "training": "control: tiny on shuffled pairs"}
    assert list_runs(layout) == [shared | control | {"headline": None}, shared | best | {"headline": headline}]
    older = {"digest": "1" * 32, "built_at": "2024-01-02 00:00", "samples": 7, "new": 5, "shards": 3}
    place = {"path": str(layout.root / "datasets/a")}
    newer = older | {"digest": "2" * 32, "built_at": "2100-01-02 00:00"}
    assert list_datasets(layout) == [newer | place, older | place]
    shared = {"run_id": "1", "headline": headline}
    assert list_reports(layout) == [
        shared | {"report_id": name, "made_at": made_at, "page": str(layout.reports / name / "index.html")}
        for name, made_at in (("1-r", "2026-11-27 13:40"), ("1-beside-2", "1970-01-01 00:00"))
    ]
