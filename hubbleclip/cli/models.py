"""Commands about models: `compare`, `export` and `benchmark`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from hubbleclip.cli.options import Options, RunId
from hubbleclip.cli.output import print_line, print_rows
from hubbleclip.cli.running import check_runs, redirect_caches
from hubbleclip.core.errors import EvaluationError
from hubbleclip.core.io import check_new

if TYPE_CHECKING:
    from hubbleclip.config.settings import Settings

SHOWN = (
    "i2t_accuracy_at_10pct",
    "i2t_accuracy_at_10pct_by_proposal",
    "t2i_accuracy_at_10pct",
    "i2t_recall_at_1",
    "t2i_recall_at_1",
    "i2t_median_rank",
    "t2i_median_rank",
)
"""Metrics of the frozen benchmark that are printed; `--out` has all."""


def compare(run: RunId, other: RunId, options: Options = Options()) -> None:
    """Compare two runs on one report page, with their paired differences."""
    redirect_caches(options.existing_layout())
    check_runs(options.settings(), run, other)
    from hubbleclip.pipeline.evaluate import compare as compare_runs

    page = compare_runs(run, other, options.settings())
    print_line(str(page))


def export(
    run: RunId,
    directory: Annotated[Path, Parameter(help="Folder to create, such as my-model.")],
    options: Options = Options(),
    *,
    transformers: Annotated[bool, Parameter(help="Write a CLIPModel too, for architectures of OpenAI.")] = True,
    onnx: Annotated[bool, Parameter(help="Write ONNX files of both towers too.")] = True,
) -> None:
    """Export the model of a run (id or folder) to a new folder for open_clip, transformers and ONNX, with a card."""
    check_new(directory)
    check_runs(options.settings(), run)
    from hubbleclip.pipeline.export import export as export_run

    print_line(str(export_run(run, directory, options.settings(), transformers=transformers, onnx=onnx)))


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class BenchmarkOptions:
    """What is scored, and on which tiles."""

    model: Annotated[str, Parameter(help="Run, exported folder, or open_clip's name such as ViT-B-16.")] = ""
    pretrained: Annotated[
        str, Parameter(help="With open_clip's name: tag of the weights, such as openai, or a file.")
    ] = ""
    embeddings: Annotated[
        Path | None,
        Parameter(help="With --frozen: file of (id, vector) to score instead of a model, such as vectors.parquet."),
    ] = None
    scores: Annotated[
        Path | None,
        Parameter(help="With --frozen: file of (image, text, score) to score instead of a model, such as s.parquet."),
    ] = None
    items: Annotated[
        Path | None, Parameter(help="With --frozen: write what must be embedded to a file, such as items.parquet.")
    ] = None
    dataset: Annotated[str, Parameter(help="Folder or URL of a dataset, such as data/d1; by default the newest.")] = ""
    others: Annotated[int, Parameter(help="Number of further tiles without an object to rank, such as 1000.")] = 1000
    out: Annotated[Path | None, Parameter(help="Write all metrics to a JSON file, such as metrics.json.")] = None


def benchmark(
    catalogue: Annotated[
        Path | None, Parameter(help="CSV file of objects with ra_deg, dec_deg and class, such as objects.csv.")
    ] = None,
    options: Options = Options(),
    *,
    frozen: Annotated[bool, Parameter(negative=(), help="Score the frozen image-text benchmark.")] = False,
    wanted: BenchmarkOptions = BenchmarkOptions(),
) -> None:
    """Score a model on the objects of a CSV file (ra_deg, dec_deg, class), or on the frozen image-text benchmark."""
    if frozen == (catalogue is not None):
        raise EvaluationError("give the CSV file of a catalogue, or --frozen")
    if catalogue and not catalogue.is_file():
        raise EvaluationError(f"there is no file {catalogue}: give a CSV file")
    settings = options.settings()
    result = score_frozen(settings, wanted) if catalogue is None else score_catalogue(catalogue, settings, wanted)
    if wanted.out and result:
        from hubbleclip.core.io import write_text

        write_text(wanted.out, json.dumps(result, indent=1) + "\n")


def score_frozen(settings: Settings, wanted: BenchmarkOptions) -> dict[str, Any]:
    """Score the frozen benchmark and print the main metrics, or write the list of its items."""
    from hubbleclip.pipeline.benchmark import frozen_benchmark, write_items

    if wanted.items:
        print_line(f"{write_items(wanted.items, settings, wanted.dataset)} items are in {wanted.items}")
        return {}
    result = frozen_benchmark(
        settings,
        place=wanted.dataset,
        model=wanted.model,
        pretrained=wanted.pretrained,
        embeddings=wanted.embeddings,
        scores=wanted.scores,
    )
    cells = {(row["model"], row["name"]): cell(row) for row in result["metrics"]}
    print_rows(
        [{"metric": name, **{one: cells.get((one, name), "") for one in ("model", "bm25", "random")}} for name in SHOWN]
    )
    print_line(
        f"{result['benchmark']}: {result['model']}, {result['num_tiles']} tiles and {result['num_captions']} captions"
        f" of {result['num_programs']} programmes, {result['num_programs_in_train']} of them in train, items"
        f" {result['items_sha256'][:16]}"
    )
    return result


def score_catalogue(path: Path, settings: Settings, wanted: BenchmarkOptions) -> dict[str, Any]:
    """Score the objects of a catalogue and print the metrics of each class and their means."""
    from hubbleclip.pipeline.benchmark import catalogue_benchmark

    result = catalogue_benchmark(
        path, settings, place=wanted.dataset, model=wanted.model, pretrained=wanted.pretrained, num_others=wanted.others
    )
    cells = {(row["scope"], row["class"], row["model"], row["name"]): cell(row) for row in result["metrics"]}
    scorers = list(dict.fromkeys(row["model"] for row in result["metrics"]))
    for scope in dict.fromkeys(row["scope"] for row in result["metrics"]):
        print_line(f"average precision, {scope} tiles")
        print_rows(
            [
                {"class": name or "mean", **{one: cells.get((scope, name, one, "ap"), "") for one in scorers}}
                for name in (*(row["class"] for row in result["classes"]), None)
            ]
        )
    seen = result["num_in_training"]
    print_line(
        f"{result['num_in_tiles']} of {result['num_objects']} objects are in tiles; {result['num_tiles']} tiles are"
        f" ranked; the proposals of {'an unknown number of' if seen is None else seen} objects were in training"
    )
    return result


def cell(row: dict[str, Any]) -> str:
    """Format a metric with its interval."""
    interval = "" if row["low"] is None else f" ({row['low']:.3g}-{row['high']:.3g})"
    return f"{row['value']:.3g}{interval}"
