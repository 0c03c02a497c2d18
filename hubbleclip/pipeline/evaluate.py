"""Evaluate a finished run on the test split, and record the run, its metrics and its report in the catalog."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import NamedTuple

from hubbleclip.catalog.pending import to_records
from hubbleclip.config.settings import Settings
from hubbleclip.contracts.validation import Rows, reject_broken_rows, whole
from hubbleclip.core.errors import ContractError, EvaluationError
from hubbleclip.core.layout import Layout
from hubbleclip.core.records import Metric, Promotion, Report, reject
from hubbleclip.core.timestamps import next_time
from hubbleclip.core.version import code_version
from hubbleclip.dataset.manifest import read_dataset
from hubbleclip.evaluation.compare import decide, val_estimate
from hubbleclip.evaluation.embed import EmbedMapFn, TileRange
from hubbleclip.evaluation.metrics.retrieval import Floats
from hubbleclip.evaluation.report.write import evaluate as evaluate_run
from hubbleclip.pipeline.engine.attempts import Step
from hubbleclip.pipeline.engine.batches import map_ordered
from hubbleclip.pipeline.engine.runners import is_remote, runner_of
from hubbleclip.pipeline.engine.stage import Stage, layout_of, log, open_stage
from hubbleclip.pipeline.pending_work import chosen_run, control_run, newest_dataset, report_id
from hubbleclip.pipeline.promotion import find_run, promoted
from hubbleclip.pipeline.remote_store import pull_catalog, pull_folder, pull_runs, push_folder
from hubbleclip.training.runs import read_facts, read_run


class Evaluated(NamedTuple):
    """The folder of a report, its metrics, and the decision whether to promote the run.

    The decision is None if this evaluation made no decision.
    """

    report_dir: Path
    metrics: list[Metric]
    decision: Promotion | None


def compare_on_val(stage: Stage, dataset_dir: Path, run_dirs: Sequence[Path]) -> Promotion:
    """Measure a candidate run on val, and decide whether it replaces the promoted run."""
    info, spread = read_dataset(readable_path(stage, dataset_dir)), embedding_map(stage)
    candidate, *others = [val_estimate(info, path, stage.settings.evaluation, spread) for path in run_dirs]
    return decide(candidate, others[0] if others else None, datetime.now(UTC))


def evaluate(settings: Settings, run: str = "", *, is_own: bool = False) -> Evaluated:
    """Write a report on a run, and promote the run if it beats the promoted run on val.

    `run` is the id of the run. If `run` is empty, a run on the newest dataset is evaluated: the run that was trained
    with these settings if `is_own` is true, otherwise the newest run.
    """
    layout = layout_of(settings)
    pull_catalog(layout)
    dataset_dir = newest_dataset(layout)
    pull_runs(layout)
    digest = read_dataset(dataset_dir).digest
    run_dir = chosen_run(layout, digest, settings, run, is_own=is_own)
    if run_dir is None:
        raise EvaluationError("there is no finished run on the newest dataset: run `hubbleclip train` first")
    if read_facts(run_dir)["is_shuffled"]:
        raise EvaluationError(f"the run {run_dir.name} is a control with shuffled pairs: give another run")
    shuffled_dir = control_run(layout, digest, settings)
    log.info("evaluate: the run is %s%s", run_dir.name, "" if shuffled_dir else ", without a control")
    pull_runs(layout, run_dir, shuffled_dir)
    report_dir = layout.reports / report_id(run_dir, digest, shuffled_dir, settings)
    with open_stage("evaluate", settings) as stage:
        is_known = bool(stage.catalog.rows("SELECT path FROM report WHERE report_id = ?", [report_dir.name]))
        if is_known:
            pull_folder(layout, report_dir)
        if is_known and (report_dir / "index.html").is_file():
            log.info("evaluate: the report is up to date: %s", report_dir / "index.html")
        else:
            write_evaluation(stage, dataset_dir, run_dir, shuffled_dir, report_dir)
        decision = promote(stage, dataset_dir, run_dir)
        metrics = stage.catalog.rows("FROM metric WHERE run_id = ?", [run_dir.name])
    return Evaluated(report_dir, to_records(Metric, metrics), decision)


evaluate_own = partial(evaluate, is_own=True)


def write_evaluation(
    stage: Stage, dataset_dir: Path, run_dir: Path, shuffled_dir: Path | None, report_dir: Path
) -> None:
    """Write the report of a run, then write the rows of the run and the report to the catalog."""
    settings = stage.settings
    metrics = evaluate_run(
        readable_path(stage, dataset_dir),
        run_dir,
        {"shuffled": shuffled_dir} if shuffled_dir else {},
        report_dir,
        settings.evaluation,
        code_version=code_version(),
        map_fn=embedding_map(stage),
    )
    report = Report(
        report_id=report_dir.name,
        run_id=run_dir.name,
        settings_digest=settings.evaluation.digest(),
        path=stage.layout.relative(report_dir),
        made_at=next_time(stage.catalog.rows("SELECT max(made_at) AS at FROM report")[0]["at"], "report"),
    )
    push_folder(stage.layout, report_dir)
    finished = [read_run(d) for d in (run_dir, shuffled_dir) if d]
    rows: Rows = {
        "run": [f.run for f in finished],
        "checkpoint": [c for f in finished for c in f.checkpoints],
        "metric": metrics,
        "report": [report],
    }
    stage.catalog.upsert(reject_broken_rows(rows, "evaluate", "run", settings.evaluation.digest()))
    log.info("evaluate: the report is %s", report_dir / "index.html")


def promote(stage: Stage, dataset_dir: Path, run_dir: Path) -> Promotion | None:
    """Decide whether a run replaces the promoted run.

    The result is None if the run cannot be scored, or if the catalog already has a decision on the run. An earlier
    decision is ignored if the folder of the promoted run was deleted.
    """
    before = promoted(stage.catalog, stage.layout)
    if before and stage.catalog.rows("SELECT run_id FROM promotion WHERE run_id = ?", [run_dir.name]):
        return None
    try:
        decision = compare_on_val(stage, dataset_dir, [run_dir, *([Path(before["path"])] if before else [])])
        stage.catalog.run("clear_failures", entity="promotion", stage="evaluate", ids=[run_dir.name])
        return write_decision(stage, decision)
    except (EvaluationError, ContractError) as error:
        log.warning("evaluate: no run is promoted: %s", error)
        about = {"reason": "not_scored", "detail": str(error), "settings_digest": stage.settings.evaluation.digest()}
        stage.catalog.upsert({"rejection": [reject("promotion", run_dir.name, "evaluate", **about)]})
        return None


def write_decision(stage: Stage, decision: Promotion) -> Promotion:
    """Write a decision to the catalog."""
    newest = stage.catalog.rows("SELECT max(decided_at) AS at FROM promotion")[0]["at"]
    decision = replace(decision, decided_at=next_time(newest, "decision on a promotion"))
    stage.catalog.upsert(whole({"promotion": [decision]}))
    verdict = "promoted" if decision.is_promoted else "not promoted"
    log.info("evaluate: %s is %s, %s on val %.4f", decision.run_id, verdict, decision.metric, decision.value)
    return decision


def readable_path(stage: Stage, folder: Path) -> Path | str:
    """Return a path or URL from which every worker can read a folder."""
    return f"{stage.layout.store}/{stage.layout.relative(folder)}" if is_remote(stage.settings) else folder


def embedding_map(stage: Stage) -> EmbedMapFn | None:
    """Make a function like `map` that embeds tiles in parallel on separate workers; None if the workers are threads."""
    if not runner_of(stage.settings).is_separate:
        return None

    def spread(work: Callable[[TileRange], Floats], parts: Sequence[TileRange]) -> list[Floats]:
        layout = stage.layout if is_remote(stage.settings) else None
        step = Step(name="embed-tiles", stage="evaluate", entity="run", digest=stage.settings.evaluation.digest())
        return list(map_ordered(stage, step, partial(embed_part, work, layout), parts))

    return spread


def embed_part(work: Callable[[TileRange], Floats], layout: Layout | None, part: TileRange) -> Floats:
    """Fetch the run's folder from the remote store if `layout` is given, then embed one range of tiles."""
    if layout:
        pull_folder(layout, part.model.run_dir)
    return work(part)


def compare(run: str, other: str, settings: Settings) -> Path:
    """Write a report that compares one run with another on the test split; the catalog is not changed."""
    layout = Layout(settings.root)
    run_dir, other_dir = (find_run(layout, name) for name in (run, other))
    if run_dir == other_dir:
        raise EvaluationError(f"both ids mean the run {run_dir.name}: give another run, see `hubbleclip runs`")
    out_dir, version = layout.comparison(run_dir.name, other_dir.name), code_version()
    dataset_dir = newest_dataset(layout)
    evaluate_run(dataset_dir, run_dir, {"other": other_dir}, out_dir, settings.evaluation, code_version=version)
    return out_dir / "index.html"
