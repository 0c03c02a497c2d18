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

from hubbleclip.core.reasons import object_class
from hubbleclip.core.records import Metric
from hubbleclip.dataset.build import DatasetInfo
from hubbleclip.evaluation.embed import ModelFeatures
from hubbleclip.evaluation.metrics.retrieval import Floats, cosine_scores, top_count
from hubbleclip.evaluation.metrics.vocabulary import Vocabulary, find_nearest
from hubbleclip.evaluation.names import HEADLINE_PERCENT, SCORERS
from hubbleclip.evaluation.report import figures, tables
from hubbleclip.evaluation.report.diagnostics import (
    feature_map,
    occlusion_uri,
    own_ranks,
    plotted_tiles,
    worst_ranked_tiles,
)
from hubbleclip.evaluation.report.tile_cards import (
    MAX_RANKED,
    Field,
    Thumbnail,
    data_uri,
    field_card,
    fold_fields,
    mark_of,
    read_thumbnails,
    thumbnail_levels,
    tile_card,
)
from hubbleclip.evaluation.test_set import TestSet, pair_similarities

TEMPLATES_DIR = Path(__file__).parent / "templates"
THUMBNAIL_PX = 192
POINT_THUMBNAIL_PX = 72
"""Side in pixels of a tile's thumbnail on the feature-space map, shown while the pointer is over the tile's point."""
NUM_PHRASES = 5
"""Number of nearest phrases that are shown per example tile, model and list of phrases (such as `object_classes`)."""
NUM_TILES = 4
"""Number of nearest fields of sky that are shown per query and per model."""
NUM_FAILURES = 4
"""Number of tiles that are shown because their own captions rank worst."""


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


def render(info: DatasetInfo, results: Results) -> str:
    """Render the report page; the thumbnails on the page are read from the dataset's shards."""
    facts, metrics = results.facts, results.metrics
    return (
        environment()
        .get_template("report.html")
        .render(
            **pictures_of(info, results),
            facts=facts,
            settings_json=json.dumps({"evaluation": facts["settings"], **facts["training"]}, indent=2, sort_keys=True),
            scorers=SCORERS,
            control_text=tables.control_text(metrics),
            chance_text=tables.chance_text(facts["num_tiles"], facts["num_captions"]),
            differences=tables.run_differences(facts, facts["other_run"]) if facts["other_run"] else [],
            shown=results.shown,
            vocabulary=results.vocabulary,
            headline=tables.headline(metrics),
            verdicts=tables.verdicts(metrics),
            table=partial(tables.table, metrics),
            equal_rows={
                "Image to text": tables.equal_rows(facts["num_captions"]),
                "Text to image": tables.equal_rows(facts["num_tiles"]),
            },
            curve_uri=svg_uri(figures.retrieval_figure(metrics)),
            histogram_uri=svg_uri(figures.similarity_figure(similarities(results))),
        )
    )


def pictures_of(info: DatasetInfo, results: Results) -> dict[str, Any]:
    """Make the template variables that contain pictures; a tile is read at most once for each thumbnail size."""
    test_set, features = results.test_set, results.features
    examples = list(results.occlusions)
    answers = {name: nearest_fields(results, name) for name in results.shown}
    failures = worst_ranked_tiles(test_set, scores_of(features["fine_tuned"]), NUM_FAILURES)
    tiles = [*examples, *(field[0] for rows in answers.values() for row in rows for field in row)]
    tiles += [tile for tile, _, _ in failures]
    pictures = read_thumbnails(info, (test_set.samples[tile].tile_id for tile in tiles), THUMBNAIL_PX)
    points = (test_set.samples[tile].tile_id for tile in plotted_tiles(len(test_set.samples)))
    small = read_thumbnails(info, points, POINT_THUMBNAIL_PX)
    ranks = {name: own_ranks(test_set, scores_of(features[name])) for name in results.shown}
    return {
        "examples": [example_card(results, tile, pictures, ranks) for tile in examples],
        "queries": query_rows(results, answers, pictures),
        "failures": [failure_card(test_set, *failure, pictures) for failure in failures],
        "map": feature_map(test_set, features["fine_tuned"].tiles_td, {name: one.uri for name, one in small.items()}),
    }


def nearest_fields(results: Results, name: str) -> list[list[Field]]:
    """Find the fields of sky nearest to each example query."""
    ranked = find_nearest(results.phrases[name]["queries"], results.features[name].tiles_td, MAX_RANKED)
    samples = results.test_set.samples
    return [fold_fields(samples, (match.index for match in matches), NUM_TILES) for matches in ranked]


def environment() -> Environment:
    """Create the Jinja environment; HTML is escaped, and an undefined name is an error."""
    jinja = Environment(
        loader=FileSystemLoader(TEMPLATES_DIR),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    jinja.filters["object_class"] = object_class
    return jinja


def svg_uri(figure: Any) -> str:
    """Render a figure as a data URI of an SVG."""
    return data_uri(figures.svg_bytes(figure), "image/svg+xml")


def scores_of(features: ModelFeatures) -> Floats:
    """Compute the cosine similarity of each test tile and each caption, (t, c), from a model's features."""
    return cosine_scores(features.tiles_td, features.captions_cd)


def similarities(results: Results) -> dict[str, tuple[Floats, Floats]]:
    """Select the similarities of true pairs and of mismatched pairs, for the models that are shown side by side."""
    return {
        name: pair_similarities(scores_of(results.features[name]), results.test_set.caption_t)
        for name in reversed(results.shown)
    }


def failure_card(
    test_set: TestSet, tile: int, first: int, rank: float, pictures: Mapping[str, Thumbnail]
) -> dict[str, Any]:
    """Make the template variables of a tile whose own caption ranks badly."""
    # Proposals may share a caption. The dict then keeps the title of the last tile that has this caption.
    titles = {int(own): sample.title for sample, own in zip(test_set.samples, test_set.caption_t, strict=True)}
    return {
        **tile_card(test_set.samples[tile], pictures),
        "mark": "wrong",
        "rank": f"{rank:.0f}",
        "first": titles[first],
    }


def example_card(
    results: Results, tile: int, pictures: Mapping[str, Thumbnail], ranks: Mapping[str, Floats]
) -> dict[str, Any]:
    """Make the template variables of an example tile: its abstract, its occlusion map and its nearest phrases."""
    test_set, vocabulary = results.test_set, results.vocabulary
    sample, num_top = test_set.samples[tile], top_count(HEADLINE_PERCENT, len(test_set.captions_c))
    nearest: dict[str, dict[str, list[dict[str, str]]]] = defaultdict(dict)
    for name, lists in results.phrases.items():
        for group, feat_pd in lists.items():
            matches = find_nearest(results.features[name].tiles_td[tile : tile + 1], feat_pd, NUM_PHRASES)[0]
            nearest[name][group] = [
                {"text": vocabulary[group][match.index], "score": f"{match.score:.2f}"} for match in matches
            ]
    return {
        **tile_card(sample, pictures),
        "occluded": occlusion_uri(thumbnail_levels(pictures[sample.tile_id].uri), results.occlusions[tile]),
        "abstract": test_set.captions_c[test_set.caption_t[tile]],
        "phrases": nearest,
        "own": {
            name: {"rank": f"{rank_t[tile]:.0f}", "mark": "right" if rank_t[tile] <= num_top else "wrong"}
            for name, rank_t in ranks.items()
        },
    }


def query_rows(
    results: Results, answers: Mapping[str, list[list[Field]]], pictures: Mapping[str, Thumbnail]
) -> list[dict[str, Any]]:
    """Make the template variables of each example query, with the nearest fields according to each model."""
    samples = results.test_set.samples
    return [
        {
            "text": text,
            "num_right": sum(mark_of(text, sample) == "right" for sample in samples),
            "tiles": {
                name: [field_card(text, field, samples, pictures) for field in rows[number]]
                for name, rows in answers.items()
            },
        }
        for number, text in enumerate(results.vocabulary["queries"])
    ]
