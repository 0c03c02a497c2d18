"""`hubbleclip study`: measure the effects of the clean split and of the loss.

Each training is repeated with several seeds. Finished trainings are reused, so that an interrupted study resumes. The
datasets and runs of the study are stored in the folder `study/` of the profile and never in the catalog, because one of
the splits leaks on purpose.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cyclopts import App
from prefect import flow

from experiments.pages import replace_tables
from experiments.study import comparisons
from experiments.study.comparisons import METRIC_NAMES
from experiments.study.datasets import read_tiles, samples_of, write_dataset
from experiments.study.leaky_splits import by_tile, common_test_tiles
from flows.dataset import dataset
from hubbleclip.cli.options import Options
from hubbleclip.config.settings import Settings, read_settings
from hubbleclip.core.errors import HubbleclipError
from hubbleclip.core.io import write_text
from hubbleclip.core.layout import Layout
from hubbleclip.core.version import code_version
from hubbleclip.dataset.manifest import DatasetInfo
from hubbleclip.evaluation.compare import split_estimates
from hubbleclip.evaluation.metrics.protocols import Estimate
from hubbleclip.pipeline.engine.stage import log
from hubbleclip.training.loop import train as train_model

app = App()
ROOT = Path(__file__).parents[2]
FILE = "study.json"


@flow(name="study")
def study(
    profile: str = "demo", overrides: dict[str, Any] | None = None, steps: int = 100, num_seeds: int = 3
) -> dict[str, Any]:
    """Train every arm with every seed, and compare the arms on the same test tiles.

    Args:
        profile: Name of a profile, such as demo, hubble, local or paper, or the path of a TOML file with settings.
        overrides: Settings to change, section by section, such as {"evaluation": {"bootstrap": 500}}.
        steps: Number of steps of each training.
        num_seeds: Number of trainings of each arm, with the seeds 1, 2, ...

    """
    dataset(profile, overrides)
    settings = read_settings(profile, overrides or {})
    settings = settings.model_copy(update={"train": settings.train.model_copy(update={"steps": steps})})
    layout = Layout(settings.root / "study")
    datasets = build_datasets(settings, layout.datasets)
    seeds = range(1, num_seeds + 1)
    scores: dict[tuple[str, str], comparisons.ArmScores] = {}
    for number, arm in enumerate(comparisons.ARMS, 1):
        log.info("study: %d of %d, %s", number, len(comparisons.ARMS), arm.name)
        of_seeds = [score(arm, seed, datasets, settings, layout.runs) for seed in seeds]
        for metric in comparisons.METRICS:
            of_metric = [one for estimates in of_seeds for one in estimates if one.name == metric]
            scores[arm.name, metric] = comparisons.pool(of_metric)
    figures, differences = comparisons.compare_arms(scores)
    results = comparisons.study_results(figures, differences, describe_study(settings, datasets, num_seeds))
    write_text(layout.root / FILE, json.dumps(results, indent=1, sort_keys=True) + "\n")
    log.info("study: the results are in %s", layout.root / FILE)
    return results


def build_datasets(settings: Settings, datasets_dir: Path) -> dict[str, DatasetInfo]:
    """Build all datasets on which the arms are trained, and the one on which they are scored."""
    material, clean = read_tiles(settings)
    plans = {comparisons.CLEAN: clean, comparisons.RANDOM_TILES: by_tile(clean, settings.splits)}
    plans[comparisons.TESTED] = common_test_tiles(list(plans.values()))
    return {
        name: write_dataset(samples_of(material, of_variant, settings), settings, datasets_dir)
        for name, of_variant in plans.items()
    }


def score(
    arm: comparisons.Arm, seed: int, datasets: Mapping[str, DatasetInfo], settings: Settings, runs_dir: Path
) -> list[Estimate]:
    """Train an arm with a seed, and score the run on the tiles that every arm is scored on.

    A finished run of the same settings is reused.
    """
    changes = {"seed": seed, "loss": arm.loss or settings.train.loss}
    train_settings = settings.train.model_copy(update=changes)
    run_dir = train_model(
        Path(datasets[arm.dataset].path), runs_dir, settings.model, train_settings, code_version=code_version()
    )
    return split_estimates(datasets[comparisons.TESTED], run_dir, settings.evaluation, "test")


def describe_study(settings: Settings, datasets: Mapping[str, DatasetInfo], num_seeds: int) -> dict[str, Any]:
    """Collect the facts that a reader needs to judge the results."""
    return {
        "steps": settings.train.steps,
        "num_seeds": num_seeds,
        "model": settings.model.name,
        "code_version": code_version(),
        "datasets": {name: {"digest": d.digest, "counts": d.description["counts"]} for name, d in datasets.items()},
    }


def table(results: Mapping[str, Any]) -> str:
    """Format the differences as a Markdown table."""
    figures = {(one["name"], one["metric"]): one["value"] for one in results["arms"]}
    differences = {(one["name"], one["metric"]): one for one in results["questions"]}
    return markdown(
        results,
        {
            name: [cell(differences[name, metric], *(figures[arm, metric] for arm in arms)) for metric in METRIC_NAMES]
            for name, arms in comparisons.COMPARISONS.items()
        },
    )


def markdown(results: Mapping[str, Any], cells: Mapping[str, Sequence[str]]) -> str:
    """Format a Markdown table with one column per metric."""
    lines = [f"| {results['num_seeds']} seeds, {results['steps']} steps | {' | '.join(METRIC_NAMES.values())} |"]
    lines.append(f"|---|{'---|' * len(METRIC_NAMES)}")
    return "\n".join([*lines, *(f"| {name} | {' | '.join(row)} |" for name, row in cells.items())])


def cell(difference: Mapping[str, Any], first: float, second: float) -> str:
    """Format one comparison as a table cell, such as `89.3 against 85.2: **+4.1** (0.5 to 7.7)`."""
    value, low, high = (100 * difference[name] for name in ("value", "low", "high"))
    mark = "**" if low > 0 or high < 0 else ""
    return f"{100 * first:.1f} against {100 * second:.1f}: {mark}{value:+.1f}{mark} ({low:.1f} to {high:.1f})"


@app.default
def update_page(out_dir: Path, options: Options = Options()) -> None:
    """Copy the study's results to `out_dir`, and update the table of `docs/study.md`."""
    path = options.settings().root / "study" / FILE
    if not path.is_file():
        raise HubbleclipError(f"there is no {path}: run `hubbleclip study` first")
    text = path.read_text(encoding="utf-8")
    write_text(out_dir / FILE, text)
    page = ROOT / "docs/study.md"
    write_text(page, replace_tables(page.read_text(encoding="utf-8"), {"study": table(json.loads(text))}))


if __name__ == "__main__":
    try:
        app()
    except HubbleclipError as error:
        sys.exit(f"hubbleclip: {error}")
