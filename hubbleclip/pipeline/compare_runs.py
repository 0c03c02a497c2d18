"""`hubbleclip compare`: write a report that compares two runs on the test split of the newest dataset."""

from __future__ import annotations

from pathlib import Path

from hubbleclip.config.settings import Settings
from hubbleclip.core.errors import EvaluationError
from hubbleclip.core.id_prefixes import find_id
from hubbleclip.core.layout import Layout
from hubbleclip.core.version import code_version
from hubbleclip.evaluation.report.write import evaluate
from hubbleclip.pipeline.train import newest_dataset
from hubbleclip.training.runs import FINISHED, RUN, read_facts


def compare(run: str, other: str, settings: Settings) -> Path:
    """Write a report that compares one run with another.

    The catalog is not changed. Only `hubbleclip evaluate` records which run is better, and it decides this on the
    validation split.
    """
    layout = Layout(settings.root)
    run_dir, other_dir = (find_run(layout, name) for name in (run, other))
    if run_dir == other_dir:
        raise EvaluationError(f"both ids mean the run {run_dir.name}: give another run, see `hubbleclip runs`")
    out_dir = layout.comparison(run_dir.name, other_dir.name)
    evaluate(
        newest_dataset(layout),
        run_dir,
        None,
        out_dir,
        settings.evaluation,
        code_version=code_version(),
        other_run_dir=other_dir,
    )
    return out_dir / "index.html"


def find_run(layout: Layout, name: str) -> Path:
    """Find the folder of a run."""
    if (Path(name) / RUN).is_file():
        return Path(name).absolute()
    states = {path.parent.name: read_facts(path.parent)["status"] for path in layout.runs.glob(f"[!.]*/{RUN}")}
    if FINISHED not in states.values():
        raise EvaluationError(f"{layout.root} has no finished run: run `hubbleclip train` first")
    run_id = find_id(name, states, kind="run", listed_by="hubbleclip runs")
    if states[run_id] != FINISHED:
        raise EvaluationError(f"the run {run_id} is not finished: run `hubbleclip train` again, which resumes it")
    return layout.runs / run_id
