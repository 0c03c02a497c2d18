"""Evaluate a finished run on the test split; record the run, its figures and its report."""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from flows._run import log, open_stage
from flows.train import newest_dataset, trainings
from hubbleclip.code_version import code_version
from hubbleclip.errors import EvaluationError
from hubbleclip.evaluation.report import Evaluation
from hubbleclip.evaluation.report import evaluate as evaluate_run
from hubbleclip.files import sha256_file
from hubbleclip.paths import Layout
from hubbleclip.records import Checkpoint, Report, Run
from hubbleclip.settings import Settings, read_settings
from hubbleclip.training.loop import find_run

task_evaluate = task(evaluate_run, name="evaluate-run", cache_policy=NO_CACHE)


@flow(name="evaluate")
def evaluate(profile: str = "demo", overrides: dict[str, Any] | None = None) -> None:
    """Report on the newest dataset's run, unless that report stands already."""
    settings = read_settings(profile, overrides or {})
    layout = Layout(settings.root)
    dataset_dir = newest_dataset(layout)
    run_dir, shuffled_dir = finished_runs(layout, dataset_dir, settings)
    report_dir = layout.reports / report_id(run_dir, shuffled_dir, settings)
    with open_stage("evaluate", settings) as stage:
        if stage.catalog.rows("SELECT path FROM report WHERE report_id = ?", [report_dir.name]):
            log.info("evaluate: the report is up to date: %s", report_dir / "index.html")
            return
        evaluation = task_evaluate(
            dataset_dir, run_dir, shuffled_dir, report_dir, settings.evaluation, code_version=code_version()
        )
        stage.catalog.upsert(rows_of(evaluation, run_dir, shuffled_dir, report_dir, layout, settings))
        stage.count(1, 0, 1)
    log.info("evaluate: the report is %s", report_dir / "index.html")


def finished_runs(layout: Layout, dataset_dir: Path, settings: Settings) -> tuple[Path, Path | None]:
    """The run of these settings on this dataset and its shuffled baseline. Raises EvaluationError when there is none."""
    found = [find_run(layout.runs, dataset_dir, settings.model, wanted) for wanted in trainings(settings)]
    if found[0] is None or None in found:
        raise EvaluationError("there is no finished run on the newest dataset: run `hubbleclip train` first")
    return found[0], found[1] if len(found) > 1 else None


def report_id(run_dir: Path, shuffled_dir: Path | None, settings: Settings) -> str:
    """The run's id and a digest of what else the report depends on."""
    rest = f"{shuffled_dir.name if shuffled_dir else ''}:{settings.evaluation.digest()}"
    return f"{run_dir.name}-{hashlib.sha256(rest.encode()).hexdigest()[:8]}"


def rows_of(
    evaluation: Evaluation, run_dir: Path, shuffled_dir: Path | None, report_dir: Path, layout: Layout, settings: Settings
) -> dict[str, list[Any]]:
    """Catalog rows of an evaluation: runs, their checkpoints, metrics and the report."""
    report = Report(
        report_id=report_dir.name, run_id=run_dir.name, settings_digest=settings.evaluation.digest(),
        path=layout.relative(report_dir), made_at=datetime.now(UTC),
    )  # fmt: skip
    run_dirs = [d for d in (run_dir, shuffled_dir) if d]
    return {
        "run": [read_run(d, layout) for d in run_dirs],
        "checkpoint": [c for d in run_dirs for c in read_checkpoints(d, layout)],
        "metric": evaluation.metrics,
        "report": [report],
    }


def read_run(run_dir: Path, layout: Layout) -> Run:
    """The Run record of a run directory."""
    told = json.loads((run_dir / "run.json").read_text(encoding="utf-8")) | {"path": layout.relative(run_dir)}
    times = {name: datetime.fromisoformat(told[name]) for name in ("started_at", "ended_at")}
    return Run(**({f.name: told[f.name] for f in fields(Run)} | times))


def read_checkpoints(run_dir: Path, layout: Layout) -> list[Checkpoint]:
    """The Checkpoint records of a run directory."""
    return [
        Checkpoint(
            run_id=run_dir.name, step=int(file.stem.split("-")[1]), path=layout.relative(file), sha256=sha256_file(file)
        )
        for file in sorted((run_dir / "checkpoints").glob("step-*.pt"))
    ]
