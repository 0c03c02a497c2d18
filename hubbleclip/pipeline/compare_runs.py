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
    """Write a report of one run against another.

    Nothing goes to the catalog: which run is better is decided on val, by `hubbleclip evaluate`.

    Parameters
    ----------
    run
        Id of a run, or the beginning of it.
    other
        Id of the run to compare with.
    settings
        All settings.

    Returns
    -------
    Path
        The page; its metrics are beside it.

    Raises
    ------
    EvaluationError
        When an id matches no run or several.

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
    """Folder of a run.

    Parameters
    ----------
    layout
        File names of the profile.
    name
        Id of a run, or the beginning of it.

    Returns
    -------
    Path
        The run's folder.

    Raises
    ------
    EvaluationError
        When the id matches no run or several.

    """
    found = [path.parent for path in sorted(layout.runs.glob(f"*/{RUN}")) if path.parent.name.startswith(name)]
    if len(found) != 1:
        known = ", ".join(path.parent.name for path in sorted(layout.runs.glob(f"*/{RUN}"))) or "none"
        raise EvaluationError(f"{len(found)} runs are named {name!r}: give one of {known}")
    return found[0]
