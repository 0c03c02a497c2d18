"""Commands about models: `compare`, `export` and `benchmark`."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from hubbleclip.cli.options import Options, RunId
from hubbleclip.cli.output import print_line, print_rows
from hubbleclip.cli.running import check_runs, redirect_caches
from hubbleclip.core.errors import EvaluationError
from hubbleclip.core.io import check_new

SHOWN = (
    "i2t_accuracy_at_10pct",
    "i2t_accuracy_at_10pct_by_proposal",
    "t2i_accuracy_at_10pct",
    "i2t_recall_at_1",
    "t2i_recall_at_1",
    "i2t_median_rank",
    "t2i_median_rank",
)
"""Metrics of the frozen benchmark that are printed; `--out` writes all metrics."""


def compare(run: RunId, other: RunId, options: Options = Options()) -> None:
    """Compare two runs on one report page, with their paired differences."""
    redirect_caches(options.existing_layout())
    check_runs(options.settings(), run, other)
    from hubbleclip.pipeline.evaluate import compare as compare_runs

    print_line(str(compare_runs(run, other, options.settings())))


def export(
    run: RunId,
    directory: Path,
    options: Options = Options(),
    *,
    transformers: Annotated[bool, Parameter(negative="--no-transformers")] = True,
    onnx: Annotated[bool, Parameter(negative="--no-onnx")] = True,
) -> None:
    """Export the model of a run (id or folder) to a new folder for open_clip, transformers and ONNX, with a model card.

    Parameters
    ----------
    directory
        Folder to create, such as my-model.
    transformers
        Also write a CLIPModel of transformers, if the model has the layers and tokenizer of OpenAI's CLIP.
    onnx
        Also write ONNX files of both towers.

    """
    check_new(directory)
    check_runs(options.settings(), run)
    from hubbleclip.pipeline.export import export as export_run

    print_line(str(export_run(run, directory, options.settings(), transformers=transformers, onnx=onnx)))


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class BenchmarkOptions:
    """What is scored, and on which tiles."""

    model: str = ""
    """Run, exported folder, or name in open_clip such as ViT-B-16; with --embeddings or --scores, a name to report."""
    pretrained: str = ""
    """With a name in open_clip: tag of the weights, such as openai, or a file of weights."""
    embeddings: Path | None = None
    """File of (id, vector) to score instead of a model, such as vectors.parquet."""
    scores: Path | None = None
    """File of (image, text, score) to score instead of a model, such as s.parquet."""
    rerank: bool = False
    """Also re-rank the best 50 images of each text with captions.model, which must accept images."""
    freeze: Path | None = None
    """Write the items (ids, hashes, texts, grades) to a file, such as set.parquet, and score nothing."""
    leaderboard: Path | None = None
    """Append the result to a file, such as board.jsonl, and write all results of the file as an HTML page beside it."""
    dataset: str = ""
    """Folder or URL of a dataset, such as data/d1; by default the newest."""
    others: int = 1000
    """Maximum number of ranked tiles that show no object of the CSV file, such as 1000."""
    out: Path | None = None
    """Write all metrics to a JSON file, such as metrics.json."""


def benchmark(
    items: Path | None = None,
    options: Options = Options(),
    *,
    frozen: bool = False,
    wanted: BenchmarkOptions = BenchmarkOptions(),
) -> None:
    """Score a model on the objects of a CSV file, on a file made by `--freeze`, or on the image-text benchmark.

    Parameters
    ----------
    items
        CSV file with ra_deg, dec_deg and class, such as objects.csv, or a file made by --freeze, such as set.parquet.
    frozen
        Score the image-text benchmark of this package, whose items are fixed.

    """
    if frozen == (items is not None):
        raise EvaluationError("give the CSV file of a catalogue or a frozen file, or --frozen")
    if items and not items.is_file():
        raise EvaluationError(f"there is no file {items}: give a CSV file, or what --freeze wrote")
    settings = options.settings()
    from hubbleclip.evaluation.benchmarks import leaderboard
    from hubbleclip.evaluation.benchmarks.items import write_items
    from hubbleclip.pipeline.benchmark import Entry, open_items
    from hubbleclip.pipeline.benchmark import benchmark as score

    if wanted.freeze:
        made, _ = open_items(items, settings, wanted.dataset, num_others=wanted.others)
        write_items(wanted.freeze, made)
        print_line(f"{len(made.samples)} images and {len(made.texts)} texts are in {wanted.freeze}: {made.digest[:16]}")
        return
    if wanted.leaderboard:
        leaderboard.read_lines(wanted.leaderboard)  # an error is raised now, not after hours of scoring
    entry = Entry(**{one.name: getattr(wanted, one.name) for one in fields(Entry)})
    result = score(items, settings, entry, num_others=wanted.others)
    (print_objects if "classes" in result else print_captions)(result)
    if wanted.out:
        from hubbleclip.core.io import write_text

        write_text(wanted.out, json.dumps(result, indent=1) + "\n")
    if wanted.leaderboard:
        print_line(f"leaderboard: {leaderboard.append_result(wanted.leaderboard, result, datetime.now(UTC).date())}")


def print_captions(result: dict[str, Any]) -> None:
    """Print the main metrics of the frozen image-text benchmark."""
    seen = "an unknown number" if (num := result["num_programs_in_train"]) is None else num
    cells = {(row["model"], row["name"]): cell(row) for row in result["metrics"]}
    scorers = list(dict.fromkeys(row["model"] for row in result["metrics"]))
    print_rows([{"metric": name, **{one: cells.get((one, name), "") for one in scorers}} for name in SHOWN])
    print_line(
        f"{result['benchmark']}: {result['model']}, {result['num_tiles']} tiles and {result['num_captions']} captions"
        f" of {result['num_programs']} programmes, {seen} of them in the model's training set; digest of items"
        f" {result['items_sha256'][:16]}"
    )


def print_objects(result: dict[str, Any]) -> None:
    """Print the metrics of each class of objects and their means."""
    cells = {(row["scope"], row["class"], row["model"], row["name"]): cell(row) for row in result["metrics"]}
    scorers = list(dict.fromkeys(row["model"] for row in result["metrics"]))
    for scope in dict.fromkeys(row["scope"] for row in result["metrics"]):
        for metric, title in (("ap", "average precision"), ("ndcg_at_10", "nDCG at 10")):
            print_line(f"{title}, {scope} tiles")
            rows = [
                {"class": name or "mean", **{one: cells.get((scope, name, one, metric), "") for one in scorers}}
                for name in (*(row["class"] for row in result["classes"]), None)
            ]
            print_rows(rows)
    seen = result["num_in_training"]
    if result["num_objects"]:
        print_line(f"{result['num_in_tiles']} of {result['num_objects']} objects are in tiles")
    print_line(
        f"{result['num_tiles']} tiles are ranked; the proposals of"
        f" {'an unknown number of' if seen is None else seen} objects were in training"
    )


def cell(row: dict[str, Any]) -> str:
    """Format a metric with its interval."""
    interval = "" if row["low"] is None else f" ({row['low']:.3g}-{row['high']:.3g})"
    return f"{row['value']:.3g}{interval}"
