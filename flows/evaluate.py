"""Evaluate a finished run on the test split; record the run, its figures and its report."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prefect import Task, flow

from flows._run import log, open_stage
from flows.train import newest_dataset, trainings
from hubbleclip.code_version import code_version
from hubbleclip.dataset.directory import read_dataset
from hubbleclip.errors import EvaluationError
from hubbleclip.evaluation.report import evaluate as evaluate_run
from hubbleclip.paths import Layout
from hubbleclip.records import Report
from hubbleclip.settings import Settings, read_settings
from hubbleclip.training.runs import find_run, read_run, settings_digest

task_evaluate = Task(evaluate_run, name="evaluate-run", persist_result=False)


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
        report = Report(
            report_id=report_dir.name,
            run_id=run_dir.name,
            settings_digest=settings.evaluation.digest(),
            path=layout.relative(report_dir),
            made_at=datetime.now(UTC),
        )
        finished = [read_run(d) for d in (run_dir, shuffled_dir) if d]
        stage.catalog.upsert(
            {
                "run": [f.run for f in finished],
                "checkpoint": [c for f in finished for c in f.checkpoints],
                "metric": evaluation.metrics,
                "report": [report],
            }
        )
    log.info("evaluate: the report is %s", report_dir / "index.html")


def finished_runs(layout: Layout, dataset_dir: Path, settings: Settings) -> tuple[Path, Path | None]:
    """The run of these settings on this dataset and its shuffled baseline. Raises EvaluationError when there is
    none.
    """
    digest = read_dataset(dataset_dir).digest
    wanted = [settings_digest(settings.model, train_settings) for train_settings in trainings(settings)]
    found = [find_run(layout.runs, digest, one) for one in wanted]
    if found[0] is None or None in found:
        raise EvaluationError("there is no finished run on the newest dataset: run `hubbleclip train` first")
    return found[0], found[1] if len(found) > 1 else None


def report_id(run_dir: Path, shuffled_dir: Path | None, settings: Settings) -> str:
    """The run's id and a digest of what else the report depends on."""
    rest = f"{shuffled_dir.name if shuffled_dir else ''}:{settings.evaluation.digest()}"
    return f"{run_dir.name}-{hashlib.sha256(rest.encode()).hexdigest()[:8]}"
