"""`python -m experiments.study`: measure the effects of the clean split and of the loss.

Each training is repeated with several seeds. Finished trainings are reused, so that an interrupted study resumes. The
datasets and runs of the study are stored in the folder `study/` of the profile and never in the catalog, because one of
the splits leaks on purpose.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cyclopts import App

from experiments.running import run, update_page, write_results
from experiments.study import comparisons
from experiments.study.comparisons import PAGE, table
from experiments.study.datasets import by_tile, common_test_tiles, read_tiles, samples_of, write_dataset
from hubbleclip.cli.options import Options
from hubbleclip.cli.output import print_rows
from hubbleclip.cli.running import redirect_caches
from hubbleclip.config.settings import Settings
from hubbleclip.core.layout import Layout
from hubbleclip.core.version import code_version
from hubbleclip.dataset.manifest import DatasetInfo
from hubbleclip.evaluation.compare import split_estimates
from hubbleclip.evaluation.metrics.protocols import Estimate
from hubbleclip.pipeline.dataset import dataset
from hubbleclip.training.loop import train as train_model

log = logging.getLogger("hubbleclip.study")
app = App()
FILE = "study.json"


@app.default
def main(out_dir: Path | None = None, options: Options = Options(), *, steps: int = 100, num_seeds: int = 3) -> None:
    """Train every arm with every seed, compare the arms, and print the differences.

    With `out_dir`, the results are also written there and into the table of this folder's README.
    """
    settings = options.settings()
    redirect_caches(Layout(settings.root))
    dataset(settings)
    train_settings = settings.train.model_copy(update={"steps": steps})
    results = study(settings.model_copy(update={"train": train_settings}), num_seeds)
    names = ("name", "metric", "value", "low", "high")
    print_rows([{name: question[name] for name in names} for question in results["questions"]])
    if out_dir:
        publish(results, out_dir)


def study(settings: Settings, num_seeds: int) -> dict[str, Any]:
    """Train every arm with the seeds 1, 2, ..., and compare the arms on the same test tiles."""
    layout = Layout(settings.root / "study")
    datasets = build_datasets(settings, layout.datasets)
    scores: dict[tuple[str, str], comparisons.ArmScores] = {}
    for number, arm in enumerate(comparisons.ARMS, 1):
        log.info("study: %d of %d, %s", number, len(comparisons.ARMS), arm.name)
        of_seeds = [score(arm, seed, datasets, settings, layout.runs) for seed in range(1, num_seeds + 1)]
        for metric in comparisons.METRICS:
            of_metric = [one for estimates in of_seeds for one in estimates if one.name == metric]
            scores[arm.name, metric] = comparisons.pool(of_metric)
    figures, differences = comparisons.compare_arms(scores)
    results = comparisons.study_results(figures, differences, describe_study(settings, datasets, num_seeds))
    write_results(layout.root / FILE, results)
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


def publish(results: Mapping[str, Any], out_dir: Path) -> None:
    """Write the results to a folder, and their table into the page of the study."""
    write_results(out_dir / FILE, results)
    update_page(PAGE, {"study": table(results)})


if __name__ == "__main__":
    run(app)
