"""Make the content of the report page, which is one HTML file that contains its images."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from hubbleclip.config.settings import EvaluationSettings
from hubbleclip.core.records import Metric, Sample
from hubbleclip.dataset.build import DatasetInfo
from hubbleclip.evaluation.features import ModelFeatures
from hubbleclip.evaluation.metrics.protocols import HEADLINE_PERCENT
from hubbleclip.evaluation.metrics.retrieval import RECALLS, Floats, cosine_scores, top_count
from hubbleclip.evaluation.metrics.vocabulary import Match, Vocabulary, find_nearest
from hubbleclip.evaluation.report import figures
from hubbleclip.evaluation.report.diagnostics import feature_map, occlusion_uri, plotted_tiles, worst_ranked_tiles
from hubbleclip.evaluation.report.thumbnails import data_uri, read_thumbnails, thumbnail_levels
from hubbleclip.evaluation.test_set import TestSet, example_tiles, pair_similarities

TEMPLATES_DIR = Path(__file__).parent / "templates"
THUMBNAIL_PX = 192
POINT_THUMBNAIL_PX = 72
"""Side, in pixels, of the thumbnail that appears when the pointer is on a point of the map of the feature space."""
NUM_PHRASES = 5
"""Number of nearest phrases that are shown for each example tile, model and list of the vocabulary."""
NUM_TILES = 4
"""Number of nearest tiles that are shown for each query and model."""
NUM_FAILURES = 4
"""Number of worst-ranked tiles that are shown."""
SCORER_NAMES = {
    "fine_tuned": "this model", "other": "other run", "base": "base model", "shuffled": "shuffled pairs",
    "bm25": "BM25", "hybrid": "with BM25", "random": "chance", "oracle": "class oracle",
}  # fmt: skip
"""Headings of the columns of the tables, by name of the scorer and in the order of the columns."""
RIVAL_NAMES = {
    "other": "the other run", "base": "the base model", "shuffled": "training on shuffled pairs",
    "bm25": "text search (BM25)", "hybrid": "its own fusion with text search (reciprocal rank fusion)",
}  # fmt: skip
HEADLINE = "i2t_accuracy_at_10pct"
COMPARISONS = {
    "i2t_accuracy_at_10pct": "image to text", "t2i_accuracy_at_10pct": "text to image",
    "kind_map": "classes of object, zero-shot", "category_map": "science categories, zero-shot",
    "same_proposal_map": "image to image, same proposal", "same_kind_map": "image to image, same class",
    "digits_top1": "handwritten digits, zero-shot",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Results:
    """The results of an evaluation that the report page shows.

    `features` has the features of every model. `phrases` has the phrase features of the models that are shown side by
    side. `facts` describes the data, the run, the settings and the code (see `write.report_facts`). `occlusions` has
    the occlusion map (y, x) of each example tile, by index of the tile.
    """

    test_set: TestSet
    features: Mapping[str, ModelFeatures]
    vocabulary: Vocabulary
    phrases: Mapping[str, Mapping[str, Floats]]
    metrics: Sequence[Metric]
    facts: Mapping[str, Any]
    occlusions: Mapping[int, Floats]

    @property
    def shown(self) -> tuple[str, ...]:
        """Names of the models that are shown side by side."""
        return tuple(self.phrases)


def render(info: DatasetInfo, results: Results, settings: EvaluationSettings) -> str:
    """Render the report page; the thumbnails on the page are read from the dataset's shards.

    Parameters
    ----------
    info : DatasetInfo
        Dataset that was evaluated.
    results : Results
        Results that the page shows.
    settings : EvaluationSettings
        Evaluation settings; only the number of example tiles and the seed are used.

    Returns
    -------
    str
        HTML of the page, which refers to no other file.

    """
    test_set, features, vocabulary = results.test_set, results.features, results.vocabulary
    metrics, facts = results.metrics, results.facts
    examples = example_tiles(test_set, settings.num_example_tiles)
    matches = {
        name: find_nearest(results.phrases[name]["queries"], features[name].tiles_td, NUM_TILES)
        for name in results.shown
    }
    failures = worst_ranked_tiles(test_set, scores_of(features["fine_tuned"]), NUM_FAILURES)
    tiles = [*examples, *(match.index for rows in matches.values() for row in rows for match in row)]
    tiles += [tile for tile, _, _ in failures]
    pictures = read_thumbnails(info, (test_set.samples[tile].tile_id for tile in tiles), THUMBNAIL_PX)
    points = (test_set.samples[tile].tile_id for tile in plotted_tiles(len(test_set.samples)))
    return environment().get_template("report.html").render(
        facts=facts,
        settings_json=json.dumps({"evaluation": facts["settings"], **facts["training"]}, indent=2, sort_keys=True),
        names=SCORER_NAMES,
        shown=results.shown,
        vocabulary=vocabulary,
        headline=headline(metrics),
        verdicts=verdicts(metrics),
        table=partial(table, metrics),
        equal_rows={
            "Image to text": equal_rows(facts["num_captions"]), "Text to image": equal_rows(facts["num_tiles"])
        },
        curve_uri=svg_uri(figures.retrieval_figure(metrics)),
        histogram_uri=svg_uri(figures.similarity_figure(similarities(results, settings.seed))),
        examples=[example_card(results, tile, pictures) for tile in examples],
        queries=query_rows(test_set, vocabulary, matches, pictures),
        failures=[failure_card(test_set, *failure, pictures) for failure in failures],
        map=feature_map(
            test_set, features["fine_tuned"].tiles_td, read_thumbnails(info, points, POINT_THUMBNAIL_PX)
        ),
    )  # fmt: skip


def environment() -> Environment:
    """Create the Jinja environment; HTML is escaped, and an undefined name is an error.

    Returns
    -------
    jinja2.Environment
        Environment with the filter `class_label`.

    """
    jinja = Environment(loader=FileSystemLoader(TEMPLATES_DIR), autoescape=True, undefined=StrictUndefined,
                        trim_blocks=True, lstrip_blocks=True)  # fmt: skip
    jinja.filters["class_label"] = class_label
    return jinja


def svg_uri(figure: Any) -> str:
    """Render a figure as a data URI of an SVG.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        Figure to render.

    Returns
    -------
    str
        Data URI of the SVG.

    """
    return data_uri(figures.figure_bytes(figure, "svg"), "image/svg+xml")


def class_label(target_class: str | None) -> str:
    """Format a target class for readers: `SIMULATED;SPIRAL GALAXY` becomes `spiral galaxy (simulated)`.

    Parameters
    ----------
    target_class : str or None
        Target class as the archive writes it, with terms separated by `;`; None if the class is unknown.

    Returns
    -------
    str
        Terms in lower case; an empty string if the class is unknown.

    """
    if not target_class:
        return ""
    mark, _, terms = target_class.partition(";")
    return f"{terms.lower()} (simulated)" if mark == "SIMULATED" and terms else target_class.replace(";", ", ").lower()


def value_text(metric: Metric) -> str:
    """Format the value of a metric; a share is given in per cent, and a rank as a plain number.

    Parameters
    ----------
    metric : Metric
        Metric to show.

    Returns
    -------
    str
        Value with one decimal place.

    """
    return f"{metric.value:.1f}" if "rank" in metric.name else f"{100 * metric.value:.1f} %"


def interval_text(metric: Metric) -> str:
    """Format the 95 % interval of a metric, in the unit of its value.

    Parameters
    ----------
    metric : Metric
        Metric to show.

    Returns
    -------
    str
        Lower and upper end with one decimal place; an empty string if the metric has no interval.

    """
    if metric.low is None or metric.high is None:
        return ""
    scale = 1 if "rank" in metric.name else 100
    return f"{scale * metric.low:.1f} – {scale * metric.high:.1f}"


def cell(metric: Metric | None) -> dict[str, str]:
    """Format the content of a table cell.

    Parameters
    ----------
    metric : Metric or None
        Metric to show; None if the scorer has no such metric.

    Returns
    -------
    dict of str to str
        `value` and `interval` as text; for None, the value is a dash and the interval is empty.

    """
    return (
        {"value": value_text(metric), "interval": interval_text(metric)} if metric else {"value": "–", "interval": ""}
    )


def headline(metrics: Sequence[Metric]) -> dict[str, str]:
    """Format the values in the first sentence of the page: the headline metric of the fine-tuned model and of chance.

    Parameters
    ----------
    metrics : sequence of Metric
        Metrics of the report.

    Returns
    -------
    dict of str to str
        `value`, `interval` and `chance` as text.

    """
    by_scorer = {metric.model: metric for metric in metrics if metric.protocol == "fair" and metric.name == HEADLINE}
    return {**cell(by_scorer["fine_tuned"]), "chance": value_text(by_scorer["random"])}


def table(metrics: Sequence[Metric], protocol: str, rows: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Make a table of the metrics of one protocol, with one row per metric and one column per scorer.

    Parameters
    ----------
    metrics : sequence of Metric
        Metrics of the report.
    protocol : str
        Name of the protocol whose metrics are shown.
    rows : sequence of (str, str)
        Name of the metric and label of each row.

    Returns
    -------
    dict
        `columns` (names of the scorers) and `rows` (label and cells); rows and columns without any metric are omitted.

    """
    by_key = {(metric.model, metric.name): metric for metric in metrics if metric.protocol == protocol}
    rows = [row for row in rows if any(name == row[0] for _, name in by_key)]
    columns = [model for model in SCORER_NAMES if any((model, name) in by_key for name, _ in rows)]
    body = [{"label": label, "cells": [cell(by_key.get((model, name))) for model in columns]} for name, label in rows]
    return {"columns": columns, "rows": body}


def equal_rows(num_items: int) -> str:
    """Say which recall is the accuracy at the top 10 % once more, because both count the same number of items.

    Parameters
    ----------
    num_items : int
        Number of items that are ranked.

    Returns
    -------
    str
        One sentence; empty if there is no such recall.

    """
    num_top = top_count(HEADLINE_PERCENT, num_items)
    if num_top not in RECALLS:
        return ""
    return f"The top 10 % of {num_items} candidates are {num_top}: this accuracy is the recall at {num_top} once more."


def verdicts(metrics: Sequence[Metric]) -> list[dict[str, Any]]:
    """Make one sentence per paired difference; a sentence says better or worse only if the interval excludes 0.

    Parameters
    ----------
    metrics : sequence of Metric
        Metrics of the report; those named `<metric>_minus_<scorer>` are used.

    Returns
    -------
    list of dict
        `direction`, `text` and `is_better` of each sentence.

    """
    sentences = []
    for metric in metrics:
        name, _, rival = metric.name.partition("_minus_")
        if not rival or metric.low is None or metric.high is None:
            continue
        is_better, is_worse = metric.low > 0, metric.high < 0
        word = "better than" if is_better else "worse than" if is_worse else "not shown to differ from"
        low, high = f"{100 * metric.low:+.1f}", f"{100 * metric.high:+.1f}"
        numbers = f"{100 * metric.value:+.1f} percentage points, 95 % interval {low} to {high}"
        text = f"{word} {RIVAL_NAMES[rival]} ({numbers})"
        sentences.append({"direction": COMPARISONS[name], "text": text, "is_better": is_better})
    return sentences


def scores_of(features: ModelFeatures) -> Floats:
    """Compute the similarities of the test tiles and the captions by one model.

    Parameters
    ----------
    features : ModelFeatures
        Features of the tiles and captions by the model.

    Returns
    -------
    ndarray
        Cosine similarities (t, c) of tiles and captions.

    """
    return cosine_scores(features.tiles_td, features.captions_cd)


def similarities(results: Results, seed: int) -> dict[str, tuple[Floats, Floats]]:
    """Select the similarities of true pairs and of shuffled pairs, for the models that are shown side by side.

    Parameters
    ----------
    results : Results
        Results of the evaluation; only the features and the test set are used.
    seed : int
        Seed of the random numbers that choose the shuffled pairs.

    Returns
    -------
    dict of str to tuple of ndarray
        Cosine similarities (t,) of the true pairs and of the shuffled pairs, by name of the model; the fine-tuned model
        comes last.

    """
    return {
        name: pair_similarities(scores_of(results.features[name]), results.test_set.caption_t, seed)
        for name in reversed(results.shown)
    }


def failure_card(test_set: TestSet, tile: int, first: int, rank: float, pictures: Mapping[str, str]) -> dict[str, Any]:
    """Make the template variables of a tile whose own caption ranks badly.

    Parameters
    ----------
    test_set : TestSet
        Test set with the tiles and captions.
    tile : int
        Index of the tile.
    first : int
        Index of the caption that ranks first for the tile.
    rank : float
        Expected rank of the tile's own caption.
    pictures : mapping of str to str
        Data URIs of the thumbnails, by tile id.

    Returns
    -------
    dict
        The variables of `tile_card`, `rank` as text, and `first`, the title of a proposal whose caption ranks first.

    """
    # Several proposals may share a caption; the title of the last tile with the caption is used.
    titles = {int(own): sample.title for sample, own in zip(test_set.samples, test_set.caption_t, strict=True)}
    return {**tile_card(test_set.samples[tile], pictures), "rank": f"{rank:.0f}", "first": titles[first]}


def example_card(results: Results, tile: int, pictures: Mapping[str, str]) -> dict[str, Any]:
    """Make the template variables of an example tile: its abstract, its occlusion map and its nearest phrases.

    Parameters
    ----------
    results : Results
        Results of the evaluation; the features, the vocabulary and the occlusion maps are used.
    tile : int
        Index of the tile.
    pictures : mapping of str to str
        Data URIs of the thumbnails, by tile id.

    Returns
    -------
    dict
        `sample`, `picture`, `occluded` (data URI of the coloured occlusion map), `abstract`, and `phrases` by model and
        list of the vocabulary.

    """
    test_set, vocabulary = results.test_set, results.vocabulary
    sample = test_set.samples[tile]
    nearest: dict[str, dict[str, list[dict[str, str]]]] = defaultdict(dict)
    for name, lists in results.phrases.items():
        for group, feat_pd in lists.items():
            matches = find_nearest(results.features[name].tiles_td[tile : tile + 1], feat_pd, NUM_PHRASES)[0]
            nearest[name][group] = [
                {"text": vocabulary[group][match.index], "score": f"{match.score:.2f}"} for match in matches
            ]
    return {
        **tile_card(sample, pictures),
        "occluded": occlusion_uri(thumbnail_levels(pictures[sample.tile_id]), results.occlusions[tile]),
        "abstract": test_set.captions_c[test_set.caption_t[tile]],
        "phrases": nearest,
    }


def query_rows(
    test_set: TestSet, vocabulary: Vocabulary, matches: Mapping[str, list[list[Match]]], pictures: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Make the template variables of each example query, with the nearest tiles by each model.

    Parameters
    ----------
    test_set : TestSet
        Test set with the tiles.
    vocabulary : dict of tuple of str
        Vocabulary; only the example queries are used.
    matches : mapping of str to list of list of Match
        Nearest tiles of each query, by name of the model.
    pictures : mapping of str to str
        Data URIs of the thumbnails, by tile id.

    Returns
    -------
    list of dict
        For each query: `text`, and `tiles` by name of the model (see `tile_card`).

    """
    return [
        {"text": text, "tiles": {name: [tile_card(test_set.samples[match.index], pictures) for match in rows[number]]
                                 for name, rows in matches.items()}}
        for number, text in enumerate(vocabulary["queries"])
    ]  # fmt: skip


def tile_card(sample: Sample, pictures: Mapping[str, str]) -> dict[str, Any]:
    """Make the template variables of a tile.

    Parameters
    ----------
    sample : Sample
        Row of the tile.
    pictures : mapping of str to str
        Data URIs of the thumbnails, by tile id.

    Returns
    -------
    dict
        `picture` (data URI of the thumbnail) and `sample` (row of the tile).

    """
    return {"picture": pictures[sample.tile_id], "sample": sample}
