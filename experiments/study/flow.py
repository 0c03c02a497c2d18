"""`hubbleclip study`: effects of pre-training, the loss, the sky guard and the clean split, over several seeds.

Finished trainings are reused, so that an interrupted study resumes. Its datasets and runs are in `study/` in the
profile's folder and never in the catalog, because two of the splits leak on purpose.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cyclopts import App
from prefect import flow

from experiments.study import comparisons
from experiments.study.leaky_splits import FIRST, SECOND, by_tile, half_of, with_and_without_guard
from flows.dataset import dataset
from hubbleclip.catalog.catalog import read_catalog
from hubbleclip.catalog.pending import to_records
from hubbleclip.cli.options import Options
from hubbleclip.config.settings import ModelSettings, Settings, read_settings
from hubbleclip.contracts.schema import contract_version
from hubbleclip.core.errors import HubbleclipError
from hubbleclip.core.io import write_text
from hubbleclip.core.layout import Layout, checkpoint_name
from hubbleclip.core.records import Sample, SplitAssignment
from hubbleclip.core.version import code_version
from hubbleclip.dataset.build import build_dataset
from hubbleclip.dataset.manifest import TEST_LIST, DatasetInfo, read_dataset
from hubbleclip.dataset.samples import make_samples
from hubbleclip.evaluation.compare import split_estimates
from hubbleclip.evaluation.metrics.protocols import Estimate
from hubbleclip.pipeline.engine.stage import Stage, log
from hubbleclip.pipeline.shards.splitting import Material, read_material
from hubbleclip.training.checkpoints import FOLDER, read_best
from hubbleclip.training.loop import train as train_model

app = App()
ROOT = Path(__file__).parents[2]
FILE = "study.json"
PRETRAINING_SEED = 0  # not among the seeds of the arms, which start at 1
START, END = "<!-- study -->", "<!-- end of study -->"


@flow(name="study")
def study(
    profile: str = "demo", overrides: dict[str, Any] | None = None, steps: int = 180, num_seeds: int = 3
) -> dict[str, Any]:
    """Train every arm with every seed and compare the arms.

    Args:
        profile: demo, hubble, local, paper, or the path of a TOML file of settings.
        overrides: Settings to change, section by section, such as {"evaluation": {"bootstrap": 500}}.
        steps: Steps of each training.
        num_seeds: Seeds 1, 2, ... of each arm.

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
        digest = test_split_digest(datasets[arm.dataset])
        for metric in comparisons.METRICS:
            of_metric = [one for estimates in of_seeds for one in estimates if one.name == metric]
            scores[arm.name, metric] = comparisons.pool(of_metric, digest)
    figures, differences = comparisons.compare_arms(scores, settings.evaluation.seed)
    results = comparisons.study_results(figures, differences, describe_study(settings, datasets, num_seeds))
    write_text(layout.root / FILE, json.dumps(results, indent=1, sort_keys=True) + "\n")
    log.info("study: %s", layout.root / FILE)
    return results


def build_datasets(settings: Settings, datasets_dir: Path) -> dict[str, DatasetInfo]:
    """Build the datasets of all arms.

    Parameters
    ----------
    settings
        Split and shard settings.
    datasets_dir
        Folder of the datasets.

    Returns
    -------
    dict[str, DatasetInfo]
        Datasets by name.

    """
    layout = Layout(settings.root)
    with read_catalog(layout) as catalog:
        material = read_material(Stage(name="study", settings=settings, layout=layout, catalog=catalog))
        clean = {plan.tile_id: plan for plan in to_records(SplitAssignment, catalog.rows("FROM split"))}
    samples = samples_of(material, clean, settings)
    guarded, unguarded = with_and_without_guard(
        material.tiles, material.observations, material.proposals, settings.splits
    )
    variants = {
        comparisons.CLEAN: samples,
        comparisons.GUARDED: samples_of(material, guarded, settings),
        comparisons.UNGUARDED: samples_of(material, unguarded, settings),
        comparisons.RANDOM_TILES: samples_of(material, by_tile(clean, settings.splits), settings),
        comparisons.FIRST_HALF: half_of(samples, FIRST, ["train"]),
        comparisons.SECOND_HALF: half_of(samples, SECOND, ["train", "val", "test"]),
    }
    datasets = {}
    for name, of_variant in variants.items():
        built = build_dataset(
            of_variant,
            lambda tile_id: layout.existing_tile(tile_id).read_bytes(),
            datasets_dir,
            settings.shards.model_copy(update={"max_parents": 0}),  # every variant is independent of the others
            contract_version=contract_version("shards"),
            code_version=code_version(),
        )
        datasets[name] = read_dataset(datasets_dir / built.dataset.digest)
    return datasets


def samples_of(material: Material, plans: Mapping[str, SplitAssignment], settings: Settings) -> list[Sample]:
    """Make samples of all tiles.

    Parameters
    ----------
    material
        Tiles, observations and proposals.
    plans
        Split of each tile, by tile id.
    settings
        Caption settings.

    Returns
    -------
    list[Sample]
        Samples of the tiles that have a split.

    """
    return make_samples(
        material.tiles, material.observations, material.proposals, plans, settings.shards, settings.shards.digest()
    )[0]


def score(
    arm: comparisons.Arm, seed: int, datasets: Mapping[str, DatasetInfo], settings: Settings, runs_dir: Path
) -> list[Estimate]:
    """Train an arm with a seed, or reuse its finished run, and score it on the test split of its dataset.

    Parameters
    ----------
    arm
        The arm.
    seed
        Seed of the training.
    datasets
        Datasets by name.
    settings
        Model, training and evaluation settings.
    runs_dir
        Folder of the runs.

    Returns
    -------
    list[Estimate]
        All metrics on the test split.

    """
    info, model = datasets[arm.dataset], settings.model
    if arm.is_pretrained:
        start = train_arm(datasets[comparisons.FIRST_HALF], model, settings, runs_dir, PRETRAINING_SEED, None)
        checkpoint = start / FOLDER / checkpoint_name(read_best(start)["step"])
        model = model.model_copy(update={"pretrained": str(checkpoint)})
    run_dir = train_arm(info, model, settings, runs_dir, seed, arm.loss)
    return split_estimates(info, run_dir, settings.evaluation, "test")


def train_arm(  # noqa: PLR0917
    info: DatasetInfo, model: ModelSettings, settings: Settings, runs_dir: Path, seed: int, loss: str | None
) -> Path:
    """Train one model, or return its finished run.

    Parameters
    ----------
    info
        The dataset.
    model
        Architecture and initial weights.
    settings
        Training settings.
    runs_dir
        Folder of the runs.
    seed
        Replaces the seed of the settings.
    loss
        Replaces the loss of the settings; None keeps it.

    Returns
    -------
    Path
        The run directory.

    """
    changes = {"seed": seed, "loss": loss or settings.train.loss}
    return train_model(
        Path(info.path), runs_dir, model, settings.train.model_copy(update=changes), code_version=code_version()
    )


def test_split_digest(info: DatasetInfo) -> str:
    """Identify a test split.

    Parameters
    ----------
    info
        A dataset.

    Returns
    -------
    str
        Hash of the list of its test tiles.

    """
    return str(info.description["files"][TEST_LIST])


def describe_study(settings: Settings, datasets: Mapping[str, DatasetInfo], num_seeds: int) -> dict[str, Any]:
    """Collect what a reader needs in order to judge the results.

    Parameters
    ----------
    settings
        Model and training settings.
    datasets
        Datasets by name.
    num_seeds
        Seeds per arm.

    Returns
    -------
    dict[str, Any]
        Plain values for JSON.

    """
    return {
        "steps": settings.train.steps,
        "num_seeds": num_seeds,
        "model": settings.model.name,
        "code_version": code_version(),
        "datasets": {name: {"digest": d.digest, "counts": d.description["counts"]} for name, d in datasets.items()},
    }


METRIC_NAMES = {"i2t_accuracy_at_10pct": "image to text, top 10 %", "t2i_accuracy_at_10pct": "text to image, top 10 %"}


def table(results: Mapping[str, Any]) -> str:
    """Format the differences as a Markdown table.

    Parameters
    ----------
    results
        Results of `study`.

    Returns
    -------
    str
        Differences in points beside both metrics in percent; bold where the interval excludes 0.

    """
    figures = {(one["name"], one["metric"]): one["value"] for one in results["arms"]}
    differences = {(one["name"], one["metric"]): one for one in results["questions"]}
    lines = [f"| {results['num_seeds']} seeds, {results['steps']} steps | {' | '.join(METRIC_NAMES.values())} |"]
    lines.append(f"|---|{'---|' * len(METRIC_NAMES)}")
    for name, arms in comparisons.COMPARISONS.items():
        cells = [cell(differences[name, metric], *(figures[arm, metric] for arm in arms)) for metric in METRIC_NAMES]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def cell(difference: Mapping[str, Any], first: float, second: float) -> str:
    """Format one difference, such as `89.3 against 85.2: **+4.1** (0.5 to 7.7)`.

    Parameters
    ----------
    difference
        `value`, `low` and `high` of the difference, as shares.
    first
        Metric of the first arm, as a share.
    second
        Metric of the second arm, as a share.

    Returns
    -------
    str
        The cell, in percent and points.

    """
    value, low, high = (100 * difference[name] for name in ("value", "low", "high"))
    mark = "**" if low > 0 or high < 0 else ""
    return f"{100 * first:.1f} against {100 * second:.1f}: {mark}{value:+.1f}{mark} ({low:.1f} to {high:.1f})"


def with_table(page: str, results: Mapping[str, Any]) -> str:
    """Replace the table between its two markers.

    Parameters
    ----------
    page
        Text of the page.
    results
        Results of `study`.

    Returns
    -------
    str
        The new text.

    """
    return re.sub(f"{START}.*?{END}", lambda _: f"{START}\n{table(results)}\n{END}", page, flags=re.DOTALL)


@app.default
def update_page(out_dir: Path, options: Options = Options()) -> None:
    """Copy the study's results to `out_dir`, and update the table of `docs/study.md`."""
    path = options.settings().root / "study" / FILE
    if not path.is_file():
        raise HubbleclipError(f"there is no {path}: run `hubbleclip study` first")
    text = path.read_text(encoding="utf-8")
    write_text(out_dir / FILE, text)
    page = ROOT / "docs/study.md"
    write_text(page, with_table(page.read_text(encoding="utf-8"), json.loads(text)))


if __name__ == "__main__":
    try:
        app()
    except HubbleclipError as error:
        sys.exit(f"hubbleclip: {error}")
