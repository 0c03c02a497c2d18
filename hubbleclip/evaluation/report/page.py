"""The report's page: what stands where, and in which words. One HTML file that carries its pictures."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from hubbleclip.config.settings import EvaluationSettings
from hubbleclip.core.records import Metric, Sample
from hubbleclip.dataset.build import DatasetInfo
from hubbleclip.evaluation.features import Features, Phrases
from hubbleclip.evaluation.metrics.phrases import Match, Vocabulary, nearest
from hubbleclip.evaluation.metrics.retrieval import Floats, cosine_scores
from hubbleclip.evaluation.report import figures
from hubbleclip.evaluation.report.explore import failures, feature_map, occlusion_uri, shown_points
from hubbleclip.evaluation.report.thumbnails import data_uri, read_thumbnails, thumbnail_levels
from hubbleclip.evaluation.test_set import TestSet, example_tiles, pair_similarities

TEMPLATES_DIR = Path(__file__).parent / "templates"
THUMBNAIL_PX = 192
NUM_PHRASES = 5
NUM_TILES = 4
NUM_FAILURES = 4
POINT_PX = 72
COLUMNS = ("fine_tuned", "other", "base", "shuffled", "bm25", "hybrid", "random", "oracle")
NAMES = {
    "fine_tuned": "this model", "other": "other run", "base": "base model", "shuffled": "shuffled pairs",
    "bm25": "BM25", "hybrid": "with BM25", "random": "chance", "oracle": "kind oracle",
}  # fmt: skip
RIVAL_NAMES = {
    "other": "the other run", "base": "the base model", "shuffled": "training on shuffled pairs",
    "bm25": "text search (BM25)", "hybrid": "itself with text search (reciprocal rank fusion)",
}  # fmt: skip
ROWS = {
    "Image to text": (
        ("i2t_accuracy_at_10pct", "Accuracy at top 10 %"), ("i2t_recall_at_1", "Recall at 1"),
        ("i2t_recall_at_5", "Recall at 5"), ("i2t_recall_at_10", "Recall at 10"), ("i2t_median_rank", "Median rank"),
    ),
    "Text to image": (
        ("t2i_accuracy_at_10pct", "Accuracy at top 10 %"), ("t2i_found_at_10pct", "Share of tiles found at top 10 %"),
        ("t2i_recall_at_1", "Recall at 1"), ("t2i_recall_at_5", "Recall at 5"), ("t2i_recall_at_10", "Recall at 10"),
        ("t2i_median_rank", "Median rank"),
    ),
}  # fmt: skip
PAPERCLIP_ROWS = (("i2t_accuracy_at_10pct", "Image to text"), ("t2i_accuracy_at_10pct", "Text to image"))
ZERO_SHOT_ROWS = (
    ("kind_map", "Kinds of object: mean average precision"), ("kind_ndcg_at_10", "nDCG at 10"),
    ("category_map", "Science categories: mean average precision"), ("category_ndcg_at_10", "nDCG at 10"),
    ("kind_top1", "A tile's kind is the nearest"), ("kind_top5", "among the nearest five"),
    ("kind_calibration_error", "Calibration error of that guess"),
)  # fmt: skip
IMAGE_ROWS = (
    ("same_proposal_map", "Same proposal: mean average precision"), ("same_proposal_recall_at_1", "Recall at 1"),
    ("same_kind_map", "Same kind, other proposals: mean average precision"), ("same_kind_recall_at_1", "Recall at 1"),
)  # fmt: skip
KEPT_ROWS = (("digits_top1", "Handwritten digits named"),)
COMPARISONS = {
    "i2t_accuracy_at_10pct": "image to text", "t2i_accuracy_at_10pct": "text to image",
    "kind_map": "kinds of object by words", "category_map": "science categories by words",
    "same_proposal_map": "images of the same proposal by an image",
    "same_kind_map": "images of the same kind by an image", "digits_top1": "handwritten digits",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Results:
    """All that a page tells: `features` by model, `phrases` of the models that are shown, and the `facts` about data,
    run, settings and code. `occlusions` has the maps of the example tiles.
    """

    test_set: TestSet
    features: Mapping[str, Features]
    vocabulary: Vocabulary
    phrases: Mapping[str, Phrases]
    metrics: Sequence[Metric]
    facts: Mapping[str, Any]
    occlusions: Mapping[int, Floats]

    @property
    def shown(self) -> tuple[str, ...]:
        """The models that are shown side by side."""
        return tuple(self.phrases)


def render(info: DatasetInfo, results: Results, settings: EvaluationSettings) -> str:
    """Render the whole page. Reads the pictures of the tiles that it shows from the shards."""
    test_set, features, vocabulary = results.test_set, results.features, results.vocabulary
    metrics, facts = results.metrics, results.facts
    examples = example_tiles(test_set, settings.num_example_tiles)
    found = {
        name: nearest(results.phrases[name].queries_pd, features[name].tiles_td, NUM_TILES) for name in results.shown
    }
    missed = failures(test_set, scores_of(features["fine_tuned"]), NUM_FAILURES)
    shown = [*examples, *(match.index for rows in found.values() for row in rows for match in row)]
    shown += [tile for tile, _, _ in missed]
    pictures = read_thumbnails(info, (test_set.samples[tile].tile_id for tile in shown), THUMBNAIL_PX)
    points = (test_set.samples[tile].tile_id for tile in shown_points(len(test_set.samples)))
    return environment().get_template("report.html").render(
        facts=facts,
        settings_json=json.dumps({"evaluation": facts["settings"], **facts["training"]}, indent=2, sort_keys=True),
        names=NAMES,
        shown=results.shown,
        vocabulary_sizes={"objects": len(vocabulary.object_classes), "hypotheses": len(vocabulary.science_hypotheses)},
        lede=lede(metrics),
        verdicts=verdicts(metrics),
        tables=fair_tables(metrics),
        paperclip=table(metrics, "paperclip", PAPERCLIP_ROWS),
        equation=table(metrics, "paperclip_equation", PAPERCLIP_ROWS[:1]),
        zero_shot=table(metrics, "zero_shot", ZERO_SHOT_ROWS),
        image_to_image=table(metrics, "image_to_image", IMAGE_ROWS),
        views=table(metrics, "views", ROWS["Image to text"]),
        curve_uri=svg_uri(figures.retrieval_figure(metrics)),
        histogram_uri=svg_uri(figures.similarity_figure(similarities(results, settings.seed))),
        examples=[example_card(results, tile, pictures) for tile in examples],
        queries=query_rows(test_set, vocabulary, found, pictures),
        kept=table(metrics, "forgetting", KEPT_ROWS),
        failures=[failure_card(test_set, *one, pictures) for one in missed],
        map=feature_map(test_set, features["fine_tuned"].tiles_td, read_thumbnails(info, points, POINT_PX)),
    )  # fmt: skip


def environment() -> Environment:
    """Jinja with escaping on and undefined names an error."""
    jinja = Environment(loader=FileSystemLoader(TEMPLATES_DIR), autoescape=True, undefined=StrictUndefined,
                        trim_blocks=True, lstrip_blocks=True)  # fmt: skip
    jinja.filters["kind"] = kind_name
    return jinja


def svg_uri(figure: Any) -> str:
    """The figure as a data URI."""
    return data_uri(figures.picture_bytes(figure, "svg"), "image/svg+xml")


def kind_name(target_class: str | None) -> str:
    """A target class for people: `SIMULATED;SPIRAL GALAXY` is `spiral galaxy (simulated)`."""
    if not target_class:
        return ""
    mark, _, kind = target_class.partition(";")
    return f"{kind.lower()} (simulated)" if mark == "SIMULATED" and kind else target_class.replace(";", ", ").lower()


def value_text(metric: Metric) -> str:
    """The value: a share in per cent, a rank as it is."""
    return f"{metric.value:.1f}" if "rank" in metric.name else f"{100 * metric.value:.1f} %"


def interval_text(metric: Metric) -> str:
    """The 95 % interval in the unit of the value; empty without one."""
    if metric.low is None or metric.high is None:
        return ""
    scale = 1 if "rank" in metric.name else 100
    return f"{scale * metric.low:.1f} – {scale * metric.high:.1f}"


def cell(metric: Metric | None) -> dict[str, str]:
    """A table's cell; a dash where nothing was scored."""
    return (
        {"value": value_text(metric), "interval": interval_text(metric)} if metric else {"value": "–", "interval": ""}
    )


def lede(metrics: Sequence[Metric]) -> dict[str, str]:
    """Words of the page's first sentence: the headline figure of the run's model beside chance."""
    name = ROWS["Image to text"][0][0]
    found = {metric.model: metric for metric in metrics if metric.protocol == "fair" and metric.name == name}
    return {**cell(found["fine_tuned"]), "chance": value_text(found["random"])}


def table(metrics: Sequence[Metric], protocol: str, rows: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Columns for the scorers that were scored, a row a figure; a figure that nobody has is left out."""
    found = {(metric.model, metric.name): metric for metric in metrics if metric.protocol == protocol}
    rows = [row for row in rows if any(name == row[0] for _, name in found)]
    columns = [model for model in COLUMNS if any((model, name) in found for name, _ in rows)]
    body = [{"label": label, "cells": [cell(found.get((model, name))) for model in columns]} for name, label in rows]
    return {"columns": columns, "rows": body}


def fair_tables(metrics: Sequence[Metric]) -> dict[str, Any]:
    """The headline table by direction."""
    return {direction: table(metrics, "fair", rows) for direction, rows in ROWS.items()}


def verdicts(metrics: Sequence[Metric]) -> list[dict[str, Any]]:
    """A sentence a comparison. `better` is said only where the paired 95 % interval excludes 0."""
    out = []
    for metric in metrics:
        name, _, rival = metric.name.partition("_minus_")
        if not rival or metric.low is None or metric.high is None:
            continue
        is_better, is_worse = metric.low > 0, metric.high < 0
        word = "better than" if is_better else "worse than" if is_worse else "not shown to differ from"
        numbers = f"{100 * metric.value:+.1f} points, {100 * metric.low:+.1f} to {100 * metric.high:+.1f}"
        text = f"{word} {RIVAL_NAMES[rival]} ({numbers})"
        out.append({"direction": COMPARISONS[name], "text": text, "is_better": is_better})
    return out


def scores_of(features: Features) -> Floats:
    """Cosine similarities (t, c) of tiles and captions."""
    return cosine_scores(features.tiles_td, features.captions_cd)


def similarities(results: Results, seed: int) -> dict[str, tuple[Floats, Floats]]:
    """True and shuffled pairs' similarities of the models that are shown."""
    return {
        name: pair_similarities(scores_of(results.features[name]), results.test_set.caption_t, seed)
        for name in reversed(results.shown)
    }


def failure_card(test_set: TestSet, tile: int, first: int, rank: float, pictures: Mapping[str, str]) -> dict[str, Any]:
    """A tile that found its caption last, and the caption that it found first."""
    titles = {int(own): sample.title for sample, own in zip(test_set.samples, test_set.caption_t, strict=True)}
    return {**tile_card(test_set.samples[tile], pictures), "rank": f"{rank:.0f}", "first": titles[first]}


def example_card(results: Results, tile: int, pictures: Mapping[str, str]) -> dict[str, Any]:
    """A tile with its nearest phrases by each model, beside the abstract that it belongs to."""
    test_set, vocabulary = results.test_set, results.vocabulary
    sample = test_set.samples[tile]
    found = {}
    for name in results.shown:
        feat_1d, phrases = results.features[name].tiles_td[tile : tile + 1], results.phrases[name]
        objects = nearest(feat_1d, phrases.objects_pd, NUM_PHRASES)[0]
        hypotheses = nearest(feat_1d, phrases.hypotheses_pd, NUM_PHRASES)[0]
        found[name] = {
            "objects": named(objects, vocabulary.object_classes),
            "hypotheses": named(hypotheses, vocabulary.science_hypotheses),
        }
    abstract = test_set.captions_c[test_set.caption_t[tile]]
    occluded = occlusion_uri(thumbnail_levels(pictures[sample.tile_id]), results.occlusions[tile])
    return {
        "sample": sample,
        "picture": pictures[sample.tile_id],
        "occluded": occluded,
        "abstract": abstract,
        "phrases": found,
    }


def named(matches: Sequence[Match], phrases: Sequence[str]) -> list[dict[str, str]]:
    """Phrases with their similarities."""
    return [{"text": phrases[match.index], "score": f"{match.score:.2f}"} for match in matches]


def query_rows(
    test_set: TestSet, vocabulary: Vocabulary, found: Mapping[str, list[list[Match]]], pictures: Mapping[str, str]
) -> list[dict[str, Any]]:
    """For each query the nearest tiles by each model."""
    return [
        {"text": text, "tiles": {name: [tile_card(test_set.samples[match.index], pictures) for match in rows[number]]
                                 for name, rows in found.items()}}
        for number, text in enumerate(vocabulary.queries)
    ]  # fmt: skip


def tile_card(sample: Sample, pictures: Mapping[str, str]) -> dict[str, Any]:
    """A tile's picture and what it shows."""
    return {"picture": pictures[sample.tile_id], "sample": sample}
