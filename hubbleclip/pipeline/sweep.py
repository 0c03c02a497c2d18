"""Train every combination of a small grid of settings, and rank them by accuracy on val."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from copy import deepcopy
from itertools import product
from typing import Any

from hubbleclip.config.settings import Settings, read_settings
from hubbleclip.config.toml import Grid
from hubbleclip.core.errors import TrainingError
from hubbleclip.core.layout import Layout
from hubbleclip.dataset.manifest import read_dataset
from hubbleclip.pipeline.dataset import RunStage, run_here
from hubbleclip.pipeline.train import newest_dataset, train
from hubbleclip.training.checkpoints import read_best
from hubbleclip.training.runs import find_run, settings_digest

log = logging.getLogger("hubbleclip.pipeline")
NO_BASELINE = {"evaluation.shuffled_steps": 0}


def combinations(grid: Grid) -> Iterator[dict[str, Any]]:
    """Make every combination of the values of a grid, in the grid's order; the last setting varies fastest."""
    return (dict(zip(grid, values, strict=True)) for values in product(*grid.values()))


def sweep(profile: str, overrides: dict[str, Any], grid: Grid, run: RunStage = run_here) -> list[dict[str, Any]]:
    """Train each combination on the newest dataset; combinations that are already trained are skipped."""
    tried = list(combinations(grid))
    settings = [read_settings(profile, changed(overrides, NO_BASELINE | values)) for values in tried]
    rows: list[dict[str, Any]] = []
    for values, chosen in zip(tried, settings, strict=True):
        name = ", ".join(f"{path} {value}" for path, value in values.items())
        log.info("sweep: %d of %d, %s", len(rows) + 1, len(tried), name)
        run(train, chosen, name)
        rows.append(values | outcome(chosen))
    return sorted(rows, key=lambda row: -(row["val_accuracy_10"] or 0))


def outcome(settings: Settings) -> dict[str, Any]:
    """Return the run, the best step and the accuracy on val of a finished training on the newest dataset."""
    layout = Layout(settings.root)
    digest = read_dataset(newest_dataset(layout)).digest
    run_dir = find_run(layout.runs, digest, settings_digest(settings.model, settings.train))
    if run_dir is None:
        raise TrainingError("the newest dataset changed during the sweep: run the sweep again")
    best = read_best(run_dir)
    return {"run": run_dir.name, "best_step": best["step"], "val_accuracy_10": best["score"]}


def changed(overrides: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of the overrides with further values."""
    out = deepcopy(dict(overrides))
    for path, value in values.items():
        section, _, name = path.partition(".")
        out.setdefault(section, {})[name] = value
    return out
