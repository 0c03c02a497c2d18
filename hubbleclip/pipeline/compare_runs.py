"""`hubbleclip compare`: the report's page for two runs side by side, on the test split of the newest dataset."""

from __future__ import annotations

from pathlib import Path

from hubbleclip.config.settings import Settings
from hubbleclip.core.errors import EvaluationError
from hubbleclip.core.layout import Layout
from hubbleclip.core.version import code_version
from hubbleclip.evaluation.report.write import evaluate
from hubbleclip.pipeline.train import newest_dataset
from hubbleclip.training.runs import RUN


def compare(run: str, other: str, settings: Settings) -> Path:
    """Write the page and its metrics, the first run's against the second's; returns the page's path.

    Nothing goes to the catalog: which run is better is decided on val, by `hubbleclip evaluate`. Raises EvaluationError
    when there is no such run.
    """
    layout = Layout(settings.root)
    run_dir, other_dir = (find_run(layout, name) for name in (run, other))
    out_dir = layout.reports / f"{run_dir.name}-beside-{other_dir.name}"
    evaluate(
        newest_dataset(layout), run_dir, None, out_dir, settings.evaluation,
        code_version=code_version(), other_run_dir=other_dir,
    )  # fmt: skip
    return out_dir / "index.html"


def find_run(layout: Layout, name: str) -> Path:
    """Folder of a run by its id or the beginning of it. Raises EvaluationError when none, or several, are meant."""
    found = [path.parent for path in sorted(layout.runs.glob(f"*/{RUN}")) if path.parent.name.startswith(name)]
    if len(found) != 1:
        known = ", ".join(path.parent.name for path in sorted(layout.runs.glob(f"*/{RUN}"))) or "none"
        raise EvaluationError(f"{len(found)} runs are named {name!r}: give one of {known}")
    return found[0]
