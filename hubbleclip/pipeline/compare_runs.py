"""`hubbleclip compare`: write a report that compares two runs on the test split of the newest dataset."""

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
    """Write a report that compares one run with another.

    The catalog is not changed. Only `hubbleclip evaluate` records which run is better, and it decides this on the
    validation split.

    Parameters
    ----------
    run
        Id of a run, the beginning of the id, or the run's folder.
    other
        The same for the run to compare with.
    settings
        All settings of the profile.

    Returns
    -------
    Path
        The HTML page of the report; the metrics are in the same folder.

    Raises
    ------
    EvaluationError
        When an id matches no run, or matches several runs.

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
    """Find the folder of a run.

    Parameters
    ----------
    layout
        Paths of the profile's files and folders.
    name
        Id of a run, the beginning of the id, or the run's folder.

    Returns
    -------
    Path
        The run's folder.

    Raises
    ------
    EvaluationError
        When the id matches no run, or matches several runs.

    """
    if (Path(name) / RUN).is_file():
        return Path(name).absolute()
    found = [path.parent for path in sorted(layout.runs.glob(f"*/{RUN}")) if path.parent.name.startswith(name)]
    if len(found) != 1:
        known = ", ".join(path.parent.name for path in sorted(layout.runs.glob(f"*/{RUN}"))) or "none"
        raise EvaluationError(f"{len(found)} run ids begin with {name!r}: give one of {known}")
    return found[0]
