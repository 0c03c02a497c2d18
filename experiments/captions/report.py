"""`make caption-study`: train the demo with abstracts, with summaries and with both, for README and docs/captions.md.

Each arm is trained with several seeds. Finished trainings are reused, so that an interrupted study resumes. Datasets
and runs are in the folder `caption-study/` of the profile and never in the catalog.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cyclopts import App

from experiments.captions.scores import QUERIES, score
from experiments.running import (
    ROOT,
    difference_with_interval,
    markdown,
    run,
    update_page,
    with_interval,
    write_results,
)
from experiments.short_queries.judgements import drawn_tiles
from experiments.study.comparisons import METRIC_NAMES, ArmScores, paired_interval, pool
from experiments.study.datasets import read_tiles, samples_of, write_dataset
from hubbleclip.catalog.catalog import read_catalog
from hubbleclip.cli.options import Options
from hubbleclip.config.settings import Settings
from hubbleclip.core.errors import HubbleclipError
from hubbleclip.core.layout import Layout
from hubbleclip.core.version import code_version
from hubbleclip.pipeline.captions import captions
from hubbleclip.training.loop import train

app = App()
FILE = "captions.json"
NAME, PAGE = "caption study", "docs/captions.md"
KINDS = ("abstract", "title", "summary", "phrases")
ABSTRACTS = {"abstract": 1.0, "abstract_sentences": 4.0}
ARMS: dict[str, dict[str, Any]] = {
    "abstracts": {"captions": ABSTRACTS},
    "summaries": {"captions": {"summary": 1.0, "phrases": 1.0}},
    "both": {"captions": {**ABSTRACTS, "summary": 2.5, "phrases": 2.5}},
}
"""Changes of the training settings by arm; shares are shares of the tokens. The first arm is the baseline."""
COLUMNS = {
    **{f"{by}: {key}": f"by {by}, {name}" for by in ("abstract", "summary") for key, name in METRIC_NAMES.items()},
    QUERIES: "short queries, nDCG@10",
}


def with_captions(settings: Settings, steps: int) -> Settings:
    """Change the settings of a demo to those of the study."""
    shards = settings.shards.model_copy(update={"caption_kinds": KINDS})
    return settings.model_copy(update={"shards": shards, "train": settings.train.model_copy(update={"steps": steps})})


def measure(settings: Settings, num_seeds: int) -> dict[str, Any]:
    """Train and score every arm."""
    if settings.archive.name != "simulated":
        raise HubbleclipError(f"{settings.root} is not of the simulated archive: the kind of its objects is unknown")
    layout = Layout(settings.root / "caption-study")
    captions(settings)
    material, plans = read_tiles(settings)
    samples = samples_of(material, plans, settings)
    info = write_dataset(samples, settings, layout.datasets)
    with read_catalog(Layout(settings.root)) as catalog:
        tiles = drawn_tiles(catalog, settings.simulator)
    rows: list[dict[str, Any]] = []
    baseline: dict[str, ArmScores] = {}
    for name, changes in ARMS.items():
        estimates = []
        for seed in range(1, num_seeds + 1):
            changed = settings.train.model_copy(update={**changes, "seed": seed})
            run_dir = train(Path(info.path), layout.runs, settings.model, changed, code_version=code_version())
            estimates += score(info, run_dir, settings.evaluation, tiles)
        found = {key: pool([one for one in estimates if one.name == key]) for key in COLUMNS}
        rows += arm_rows(name, found, baseline)
        baseline = baseline or found
    return {
        "rows": rows,
        "num_seeds": num_seeds,
        "steps": settings.train.steps,
        "num_queries": found[QUERIES].mean.num_groups,
        "num_test_tiles": sum(one.split == "test" for one in samples),
    }


def arm_rows(name: str, found: Mapping[str, ArmScores], baseline: Mapping[str, ArmScores]) -> list[dict[str, Any]]:
    """Describe an arm, and its difference from the baseline if there is one; numbers have 6 decimal places."""

    def rounded(value: float, ends: tuple[float, float]) -> list[float]:
        return [round(number, 6) for number in (value, *ends)]

    rows: list[dict[str, Any]] = [
        {"name": name} | {key: rounded(one.mean.value, one.interval()) for key, one in found.items()}
    ]
    if baseline:
        rows.append({"name": f"{name} minus abstracts"})
        for key, other in baseline.items():
            rows[1][key] = rounded(found[key].mean.value - other.mean.value, paired_interval(found[key], other))
    return rows


def table(result: Mapping[str, Any]) -> str:
    """Format the result as a Markdown table."""
    made = markdown(
        ["trained on", *COLUMNS.values()],
        ([row["name"], *(cell(row, key) for key in COLUMNS)] for row in result["rows"]),
    )
    facts = (
        "{num_test_tiles} test tiles, {num_queries} short queries that one of them answers, {num_seeds} seeds, {steps} "
        "steps per training. The 95 % intervals include the variation of proposals, or of queries, and of seeds."
    )
    return f"{made}\n\n{facts.format(**result)}"


def cell(row: Mapping[str, Any], column: str) -> str:
    """Format a value or a difference with its interval: in percent, or without a unit for nDCG."""
    scale, digits = (1, 2) if column == QUERIES else (100, 1)
    show = difference_with_interval if " minus " in row["name"] else with_interval
    return show(*(scale * number for number in row[column]), digits=digits)


@app.default
def main(out_dir: Path, options: Options = Options(), *, steps: int = 100, num_seeds: int = 3) -> None:
    """Measure, write the results to `out_dir`, and update docs/captions.md."""
    result = measure(with_captions(options.settings(), steps), num_seeds)
    write_results(out_dir / FILE, result)
    update_page(ROOT / PAGE, {NAME: table(result)})


if __name__ == "__main__":
    run(app)
