"""Format the metrics of a report: headline, tables of scorers, and paired differences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hubbleclip.core.records import Metric
from hubbleclip.evaluation.metrics.retrieval import RECALLS, top_count
from hubbleclip.evaluation.names import HEADLINE, HEADLINE_PERCENT, SCORERS

COMPARISONS = {
    "i2t_accuracy_at_10pct": "image to text",
    "t2i_accuracy_at_10pct": "text to image",
    "kind_map": "classes of object, zero-shot",
    "category_map": "science categories, zero-shot",
    "same_proposal_map": "image to image, same proposal",
    "same_kind_map": "image to image, same class",
    "photographs_top1": "photographs of things on Earth, zero-shot",
    "digits_top1": "handwritten digits, zero-shot",
}
"""Tasks by the name of the metric on which scorers are compared."""
WORDS = {"better": "better", "worse": "worse", "open": "not shown to differ"}
"""Verdict on this model, by the state of a difference."""


def value_text(metric: Metric) -> str:
    """Format the value of a metric; a share is given in per cent, and a rank as a plain number."""
    return f"{metric.value:.1f}" if "rank" in metric.name else f"{100 * metric.value:.1f} %"


def interval_text(metric: Metric) -> str:
    """Format the 95 % interval of a metric, in the unit of its value."""
    if metric.low is None or metric.high is None:
        return ""
    scale = 1 if "rank" in metric.name else 100
    return f"{scale * metric.low:.1f} – {scale * metric.high:.1f}"


def cell(metric: Metric | None) -> dict[str, str]:
    """Format the content of a table cell."""
    return (
        {"value": value_text(metric), "interval": interval_text(metric)} if metric else {"value": "–", "interval": ""}
    )


def headline(metrics: Sequence[Metric]) -> dict[str, str]:
    """Format the values in the first sentence of the page: the headline metric of the fine-tuned model
    and of chance.
    """
    by_scorer = {metric.model: metric for metric in metrics if metric.protocol == "fair" and metric.name == HEADLINE}
    return {**cell(by_scorer["fine_tuned"]), "chance": value_text(by_scorer["random"])}


def table(metrics: Sequence[Metric], protocol: str, rows: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Make a table of the metrics of one protocol, with one row per metric and one column per scorer."""
    by_key = {(metric.model, metric.name): metric for metric in metrics if metric.protocol == protocol}
    rows = [row for row in rows if any(name == row[0] for _, name in by_key)]
    columns = [model for model in SCORERS if any((model, name) in by_key for name, _ in rows)]
    body = [{"label": label, "cells": [cell(by_key.get((model, name))) for model in columns]} for name, label in rows]
    return {"columns": columns, "rows": body}


def equal_rows(num_items: int) -> str:
    """Say which recall is the accuracy at the top 10 % once more, because both count the same number of items."""
    num_top = top_count(HEADLINE_PERCENT, num_items)
    if num_top not in RECALLS:
        return ""
    return f"The top 10 % of {num_items} candidates are {num_top}: this accuracy is the recall at {num_top} once more."


def verdicts(metrics: Sequence[Metric]) -> list[dict[str, str]]:
    """Judge each paired difference; this model is called better or worse only if the interval excludes 0."""
    rows = []
    for metric in metrics:
        name, _, rival = metric.name.partition("_minus_")
        if not rival or metric.low is None or metric.high is None:
            continue
        state = "better" if metric.low > 0 else "worse" if metric.high < 0 else "open"
        rows.append(
            {
                "task": COMPARISONS[name],
                "rival": SCORERS[rival].name,
                "difference": f"{100 * metric.value:+.1f}",
                "interval": f"{100 * metric.low:+.1f} to {100 * metric.high:+.1f}",
                "state": state,
                "word": WORDS[state],
            }
        )
    return rows
