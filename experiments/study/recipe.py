"""`make recipe-study`: what single settings of training are worth on the demo, for this folder's README.

Some arms start from random weights. The others start from a base, which was trained on one half of the training
proposals, and are trained on the other half, as a model is when the archive has grown. Finished trainings are reused,
so that an interrupted study resumes. Datasets and runs are in the folder `study/` of the profile and never in the
catalog.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cyclopts import App

from experiments.running import markdown, run, update_page, write_results
from experiments.study.comparisons import METRICS, PAGE, ArmScores, cell, header, paired_interval, pool
from experiments.study.datasets import Assignments, read_tiles, samples_of, write_dataset
from hubbleclip.cli.options import Options
from hubbleclip.config.settings import Settings
from hubbleclip.core.layout import Layout
from hubbleclip.core.records import SplitAssignment
from hubbleclip.core.version import code_version
from hubbleclip.dataset.manifest import DatasetInfo
from hubbleclip.dataset.shard_writer import unit_hash
from hubbleclip.dataset.splits.sky_guard import EXCLUDED
from hubbleclip.evaluation.compare import split_estimates
from hubbleclip.evaluation.metrics.protocols import Estimate
from hubbleclip.training import checkpoints
from hubbleclip.training.loop import train
from hubbleclip.training.runs import CHECKPOINTS

app = App()
FILE, NAME = "recipe.json", "recipe"
LONG = 248
"""Number of tokens of Long-CLIP's text tower."""
WHOLE, FIRST, SECOND = "all training proposals", "the first half", "the second half"


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One way to train: changes of the training settings, the context in tokens (0: the model's own), the dataset, and
    whether training starts from the base.
    """

    changes: Mapping[str, Any] = field(default_factory=dict)
    context_length: int = 0
    dataset: str = WHOLE
    has_base: bool = False


def fine_tuned(context_length: int = 0, **changes: Any) -> Arm:
    """Describe an arm that is trained on the second half and starts from the base."""
    return Arm(changes=changes, context_length=context_length, dataset=SECOND, has_base=True)


ARMS = {
    "as it is": Arm(),
    "half of each batch hard negatives": Arm(changes={"hard_share": 0.5}),
    "sigmoid loss": Arm(changes={"loss": "siglip_masked"}),
    "the base": Arm(dataset=FIRST),
    "fine-tuned": fine_tuned(),
    "features distilled": fine_tuned(distillation_weight=1.0),
    "logits distilled": fine_tuned(distillation_weight=1.0, distillation="logits"),
    "averaged with the base": fine_tuned(wise_alphas=(0.25, 0.5, 0.75)),
    "whole abstracts in 248 tokens": fine_tuned(LONG, captions={"abstract": 1.0}),
}
COMPARED = {
    "half of each batch hard negatives": "as it is",
    "sigmoid loss": "as it is",
    "fine-tuned": "the base",
    "features distilled": "fine-tuned",
    "logits distilled": "fine-tuned",
    "averaged with the base": "fine-tuned",
    "whole abstracts in 248 tokens": "fine-tuned",
}
"""The arm with which each arm is compared; the difference is the arm minus the other."""


def half_of_train(plans: Assignments, half: int) -> dict[str, SplitAssignment]:
    """Exclude one half of the groups of the train split, drawn by a hash of the group's id."""
    return {
        tile_id: replace(plan, split=EXCLUDED)
        if plan.split == "train" and (unit_hash(f"half:{plan.group_id}") < 0.5) != (half == 0)
        else plan
        for tile_id, plan in plans.items()
    }


def build_datasets(settings: Settings, folder: Path) -> dict[str, DatasetInfo]:
    """Build the datasets of the arms; val and test are the same in each."""
    material, plans = read_tiles(settings)
    variants = {WHOLE: plans, FIRST: half_of_train(plans, 0), SECOND: half_of_train(plans, 1)}
    return {
        name: write_dataset(samples_of(material, variant, settings), settings, folder)
        for name, variant in variants.items()
    }


def score(arm: Arm, seed: int, datasets: Mapping[str, DatasetInfo], settings: Settings, runs: Path) -> list[Estimate]:
    """Train an arm with a seed, and score it on the test tiles."""

    def trained(arm: Arm, pretrained: str) -> Path:
        model = settings.model.model_copy(update={"pretrained": pretrained, "context_length": arm.context_length})
        changed = settings.train.model_copy(update={**arm.changes, "seed": seed})
        return train(Path(datasets[arm.dataset].path), runs, model, changed, code_version=code_version())

    start = settings.model.pretrained
    if arm.has_base:
        base = trained(ARMS["the base"], start)
        start = str(base / CHECKPOINTS / checkpoints.best_weights(base).name)
    return split_estimates(datasets[WHOLE], trained(arm, start), settings.evaluation, "test")


def measure(settings: Settings, num_seeds: int, only: Sequence[str]) -> list[dict[str, Any]]:
    """Train and score the arms of some comparisons."""
    wanted = {name: COMPARED[name] for name in only}
    layout = Layout(settings.root / "study")
    datasets = build_datasets(settings, layout.datasets)
    scores: dict[tuple[str, str], ArmScores] = {}
    for name in dict.fromkeys([*wanted.values(), *wanted]):
        estimates = [score(ARMS[name], seed, datasets, settings, layout.runs) for seed in range(1, num_seeds + 1)]
        for metric in METRICS:
            scores[name, metric] = pool([one for of_seed in estimates for one in of_seed if one.name == metric])
    return [
        {"name": name, "other_name": other, "metric": metric}
        | compared(scores[name, metric], scores[other, metric])
        | {"code_version": code_version()}
        for name, other in wanted.items()
        for metric in METRICS
    ]


def compared(ours: ArmScores, other: ArmScores) -> dict[str, float]:
    """Compare a metric of two arms."""
    low, high = paired_interval(ours, other)
    values = {"arm": ours.mean.value, "other": other.mean.value, "value": ours.mean.value - other.mean.value}
    return {name: round(value, 6) for name, value in (values | {"low": low, "high": high}).items()}


def table(result: Mapping[str, Any]) -> str:
    """Format the result as a Markdown table."""
    rows = {(row["name"], row["metric"]): row for row in result["rows"]}
    return markdown(
        header(result),
        (
            [
                f"{name}, against {other}",
                *(cell(row, row["arm"], row["other"]) for row in (rows[name, m] for m in METRICS)),
            ]
            for name, other in COMPARED.items()
        ),
    )


@app.default
def main(
    out_dir: Path, options: Options = Options(), *, steps: int = 60, num_seeds: int = 3, only: tuple[str, ...] = ()
) -> None:
    """Measure, write the results to `out_dir`, and update this folder's README; with `--only`, other rows are kept."""
    settings = options.settings()
    train_settings = settings.train.model_copy(update={"steps": steps})
    rows = measure(settings.model_copy(update={"train": train_settings}), num_seeds, only or tuple(COMPARED))
    file = out_dir / FILE
    kept = json.loads(file.read_text(encoding="utf-8"))["rows"] if only else []
    rows = [row for row in kept if row["name"] not in only] + rows
    result = {"rows": rows, "num_seeds": num_seeds, "steps": steps}
    write_results(file, result)
    update_page(PAGE, {NAME: table(result)})


if __name__ == "__main__":
    run(app)
