"""Format the metrics of a report: headline, tables of scorers, paired differences, and differences between runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hubbleclip.core.records import Metric
from hubbleclip.evaluation.estimates import COMPARED_METRICS
from hubbleclip.evaluation.metrics.retrieval import RECALLS, top_count
from hubbleclip.evaluation.names import HEADLINE, HEADLINE_PERCENT, SCORERS

WORDS = {"better": "better", "worse": "worse", "open": "not shown to differ"}
"""Words for each outcome of a comparison between this model and another scorer (see `verdicts`)."""
FACTS = {
    "model": "model",
    "pretrained": "public weights",
    "loss": "loss",
    "trained_on_digest": "trained on dataset",
    "best_step": "step",
    "samples_seen": "training samples seen",
}
"""Facts that are compared between two runs: the key of each fact, and the name that the page shows."""


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
    return {"value": value_text(metric) if metric else "–", "interval": interval_text(metric) if metric else ""}


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


def control_text(metrics: Sequence[Metric]) -> str:
    """Describe how the control (trained on shuffled pairs) compares with chance; "" without a control."""
    by_scorer = {metric.model: metric for metric in metrics if metric.protocol == "fair" and metric.name == HEADLINE}
    control, chance = by_scorer.get("shuffled"), by_scorer["random"]
    if control is None or control.low is None or control.high is None:
        return ""
    state = "above" if control.low > chance.value else "below" if control.high < chance.value else "not shown to differ"
    return (
        f"The control reaches {value_text(control)} ({interval_text(control)}) from image to text, where chance is "
        f"{value_text(chance)}: {state}. It was trained once, on one shuffle. By luck, some tiles get texts of their "
        "own class, so the control may differ from chance by more than its interval, which ignores variation between "
        "trainings. A leak would raise the control towards this model; the verdicts compare the two, pair by pair."
    )


def equal_rows(num_items: int) -> str:
    """State which recall has the same cutoff as the accuracy at the top 10 %; "" if no recall has this cutoff."""
    num_top = top_count(HEADLINE_PERCENT, num_items)
    if num_top not in RECALLS:
        return ""
    return f"The top 10 % of {num_items} candidates are {num_top}: this accuracy equals the recall at {num_top}."


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
                "task": COMPARED_METRICS[metric.protocol, name],
                "rival": SCORERS[rival].name,
                "difference": f"{100 * metric.value:+.1f}",
                "interval": f"{100 * metric.low:+.1f} to {100 * metric.high:+.1f}",
                "state": state,
                "word": WORDS[state],
            }
        )
    return rows


def chance_text(num_tiles: int, num_captions: int) -> str:
    """Say what chance is, and why it is higher from text to image."""
    top, per_caption = HEADLINE_PERCENT, num_tiles / num_captions
    missed = 1 - top / 100
    return (
        f"By chance, an image has its one caption among the top {top} % in {top} % of the cases. A text has "
        f"{per_caption:.1f} tiles on average and needs only one of them, so chance is higher: about "
        f"1 - {missed:.1f}^{per_caption:.1f} = {100 * (1 - missed**per_caption):.0f} %; the table has the exact value."
    )


def run_differences(this: Mapping[str, Any], other: Mapping[str, Any]) -> list[dict[str, str]]:
    """List the facts and settings that differ between two runs. Values are texts; a missing value is ""."""
    rows = [(name, this.get(key), other.get(key)) for key, name in FACTS.items()]
    mine, theirs = _settings(this["training"]), _settings(other["training"])
    rows += [(name, mine.get(name), theirs.get(name)) for name in sorted(mine.keys() | theirs.keys())]
    return [{"name": name, "this": _text(one), "other": _text(two)} for name, one, two in rows if one != two]


def _settings(sections: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Merge the sections of settings into one mapping, whose keys are `section.name`."""
    return {f"{section}.{name}": value for section, values in sections.items() for name, value in values.items()}


def _text(value: Any) -> str:
    """Format a value; numbers of five digits and more have separators."""
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
