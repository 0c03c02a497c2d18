"""A leaderboard: a file of results, to which JSON objects are appended as lines, and an HTML page of the results."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from hubbleclip.core.errors import EvaluationError
from hubbleclip.core.io import write_text
from hubbleclip.evaluation.names import HEADLINE
from hubbleclip.evaluation.report.page import environment

FACTS = ("model", "benchmark", "items_sha256", "dataset_digest", "num_tiles")
SEEN = "num_programs_in_train"
MAIN = {
    HEADLINE: "image to text, top 10 %",
    f"{HEADLINE}_by_proposal": "the same, mean over proposals",
    "t2i_accuracy_at_10pct": "text to image, top 10 %",
    "i2t_recall_at_1": "image to text, R@1",
    "t2i_recall_at_1": "text to image, R@1",
    "ap": "mean average precision",
    "ndcg_at_10": "nDCG at 10",
}
"""Labels of the metrics that the page shows; each line is sorted by its first metric in this order.

The last two metrics are means over the classes of a catalogue.
"""


def append_result(path: Path, result: Mapping[str, Any], day: date) -> Path:
    """Append a result to `path` as a line, write the page next to it as `.html`, and return the page's path."""
    metrics = {
        row["name"]: [row[part] for part in ("value", "low", "high")]
        for row in result["metrics"]
        if row["model"] == "model" and row["name"] in MAIN and row.get("class") is None and row.get("scope") != "unseen"
    }
    line = {name: result[name] for name in (*FACTS, SEEN)} | {"date": day.isoformat(), "metrics": metrics}
    page = render([*read_lines(path), line])
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:  # appended, because another benchmark may end at the same time
        file.seek(0)
        end = b"" if file.read()[-1:] in {b"", b"\n"} else b"\n"
        file.write(end + json.dumps(line).encode() + b"\n")
    write_text(path.with_suffix(".html"), page)
    return path.with_suffix(".html")


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Read the lines of a leaderboard; [] if the file does not exist."""
    if path.suffix == ".html":
        raise EvaluationError(f"{path} is the name of a page: give the file of results, {path.with_suffix('.jsonl')}")
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
        for line in lines:
            is_line = {*FACTS, "date"} <= line.keys() and all(len(ends) == 3 for ends in line["metrics"].values())
            if not (is_line and line["metrics"].keys() & MAIN.keys()):
                raise ValueError("a line lacks a required key or a metric")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise EvaluationError(f"{path} is not a leaderboard ({error}): give another file or correct it") from error
    return lines


def render(lines: Sequence[dict[str, Any]]) -> str:
    """Render the page: a table for each digest of items, the best line first."""
    boards: dict[str, list[dict[str, Any]]] = {}
    for line in sorted(lines, key=first_value, reverse=True):
        boards.setdefault(line["items_sha256"], []).append(line)
    names = {digest: [name for name in MAIN if name in board[0]["metrics"]] for digest, board in boards.items()}
    return environment().get_template("leaderboard.html").render(boards=boards, names=names, labels=MAIN)


def first_value(line: Mapping[str, Any]) -> float:
    """Return the value by which a line is sorted: the value of the first metric in `MAIN` that the line has."""
    return float(next(line["metrics"][name][0] for name in MAIN if name in line["metrics"]))
