"""`hubbleclip study`: what pre-training, the loss, the sky guard and the clean split are worth, by seeds.

Trainings that stand are found again, so that a study goes on where it stopped. Its datasets and runs stand in `study/`
below the profile's folder; the catalog knows nothing of them, since two of the splits leak on purpose.
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

from experiments.study import comparisons as questions
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
PRETRAINING_SEED = 0
START, END = "<!-- study -->", "<!-- end of study -->"


@flow(name="study")
def study(
    profile: str = "demo", overrides: dict[str, Any] | None = None, steps: int = 180, num_seeds: int = 3
) -> dict[str, Any]:
    """Train every arm with every seed and say what differs.

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
    scored: dict[tuple[str, str], questions.Scored] = {}
    for number, arm in enumerate(questions.ARMS, 1):
        log.info("study: %d of %d, %s", number, len(questions.ARMS), arm.name)
        found = [score(arm, seed, datasets, settings, layout.runs) for seed in seeds]
        digest = test_split(datasets[arm.dataset])
        for metric in questions.METRICS:
            of_metric = [one for estimates in found for one in estimates if one.name == metric]
            scored[arm.name, metric] = questions.pool(of_metric, digest)
    figures, answers = questions.answers(scored, settings.evaluation.seed)
    told = questions.told(figures, answers, facts(settings, datasets, num_seeds))
    write_text(layout.root / FILE, json.dumps(told, indent=1, sort_keys=True) + "\n")
    log.info("study: %s", layout.root / FILE)
    return told


def build_datasets(settings: Settings, datasets_dir: Path) -> dict[str, DatasetInfo]:
    """The datasets that the arms are trained on, by name."""
    layout = Layout(settings.root)
    with read_catalog(layout) as catalog:
        material = read_material(Stage(name="study", settings=settings, layout=layout, catalog=catalog))
        clean = {plan.tile_id: plan for plan in to_records(SplitAssignment, catalog.rows("FROM split"))}
    samples = samples_of(material, clean, settings)
    guarded, unguarded = with_and_without_guard(
        material.tiles, material.observations, material.proposals, settings.splits
    )
    variants = {
        questions.CLEAN: samples,
        questions.GUARDED: samples_of(material, guarded, settings),
        questions.UNGUARDED: samples_of(material, unguarded, settings),
        questions.RANDOM_TILES: samples_of(material, by_tile(clean, settings.splits), settings),
        questions.FIRST_HALF: half_of(samples, FIRST, ["train"]),
        questions.SECOND_HALF: half_of(samples, SECOND, ["train", "val", "test"]),
    }
    found = {}
    for name, of_variant in variants.items():
        built = build_dataset(
            of_variant,
            lambda tile_id: layout.existing_tile(tile_id).read_bytes(),
            datasets_dir,
            settings.shards.model_copy(update={"max_parents": 0}),
            contract_version=contract_version("shards"),
            code_version=code_version(),
        )
        found[name] = read_dataset(datasets_dir / built.dataset.digest)
    return found


def samples_of(material: Material, plans: Mapping[str, SplitAssignment], settings: Settings) -> list[Sample]:
    """Samples of all tiles by these assignments."""
    return make_samples(
        material.tiles, material.observations, material.proposals, plans, settings.shards, settings.shards.digest()
    )[0]


def score(
    arm: questions.Arm, seed: int, datasets: Mapping[str, DatasetInfo], settings: Settings, runs_dir: Path
) -> list[Estimate]:
    """Train an arm with a seed, or find it trained, and score it on the test split of its dataset."""
    info, model = datasets[arm.dataset], settings.model
    if arm.is_pretrained:
        start = train_arm(datasets[questions.FIRST_HALF], model, settings, runs_dir, PRETRAINING_SEED, None)
        checkpoint = start / FOLDER / checkpoint_name(read_best(start)["step"])
        model = model.model_copy(update={"pretrained": str(checkpoint)})
    run_dir = train_arm(info, model, settings, runs_dir, seed, arm.loss)
    return split_estimates(info, run_dir, settings.evaluation, "test")


def train_arm(  # noqa: PLR0917
    info: DatasetInfo, model: ModelSettings, settings: Settings, runs_dir: Path, seed: int, loss: str | None
) -> Path:
    """One training, begun, gone on with or found."""
    changes = {"seed": seed, "loss": loss or settings.train.loss}
    return train_model(
        Path(info.path), runs_dir, model, settings.train.model_copy(update=changes), code_version=code_version()
    )


def test_split(info: DatasetInfo) -> str:
    """What tells test splits apart."""
    return str(info.description["files"][TEST_LIST])


def facts(settings: Settings, datasets: Mapping[str, DatasetInfo], num_seeds: int) -> dict[str, Any]:
    """What a reader must know to judge the answers."""
    return {
        "steps": settings.train.steps,
        "num_seeds": num_seeds,
        "model": settings.model.name,
        "code_version": code_version(),
        "datasets": {name: {"digest": d.digest, "counts": d.description["counts"]} for name, d in datasets.items()},
    }


METRIC_NAMES = {"i2t_accuracy_at_10pct": "image to text, top 10 %", "t2i_accuracy_at_10pct": "text to image, top 10 %"}


def table(told: Mapping[str, Any]) -> str:
    """The answers in Markdown, in points, beside both figures in percent; bold where the interval excludes 0."""
    figures = {(one["name"], one["metric"]): one["value"] for one in told["arms"]}
    answers = {(one["name"], one["metric"]): one for one in told["questions"]}
    lines = [f"| {told['num_seeds']} seeds, {told['steps']} steps | {' | '.join(METRIC_NAMES.values())} |"]
    lines.append(f"|---|{'---|' * len(METRIC_NAMES)}")
    for name, arms in questions.QUESTIONS.items():
        cells = [cell(answers[name, metric], *(figures[arm, metric] for arm in arms)) for metric in METRIC_NAMES]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def cell(answer: Mapping[str, Any], first: float, second: float) -> str:
    """Such as `89.3 against 85.2: **+4.1** (0.5 to 7.7)`."""
    value, low, high = (100 * answer[name] for name in ("value", "low", "high"))
    mark = "**" if low > 0 or high < 0 else ""
    return f"{100 * first:.1f} against {100 * second:.1f}: {mark}{value:+.1f}{mark} ({low:.1f} to {high:.1f})"


def with_table(readme: str, told: Mapping[str, Any]) -> str:
    """`readme` with the table between its two markers renewed."""
    return re.sub(f"{START}.*?{END}", lambda _: f"{START}\n{table(told)}\n{END}", readme, flags=re.DOTALL)


@app.default
def tell(out_dir: Path, options: Options = Options()) -> None:
    """Copy the study's answers to `out_dir`, and write the README's table."""
    path = options.settings().root / "study" / FILE
    if not path.is_file():
        raise HubbleclipError(f"there is no {path}: run `hubbleclip study` first")
    text = path.read_text(encoding="utf-8")
    write_text(out_dir / FILE, text)
    readme = ROOT / "README.md"
    write_text(readme, with_table(readme.read_text(encoding="utf-8"), json.loads(text)))


if __name__ == "__main__":
    try:
        app()
    except HubbleclipError as error:
        sys.exit(f"hubbleclip: {error}")
