import xml.etree.ElementTree as ET

import numpy as np
import pytest

from hubbleclip.core.records import Metric
from hubbleclip.evaluation.metrics.retrieval import PERCENTS
from hubbleclip.evaluation.report import figures, page


def metric(name, value, low=None, high=None, model="fine_tuned"):
    return Metric(run_id="r", protocol="fair", split="test", model=model, name=name, value=value, low=low, high=high)


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [(0.01, 0.3, "better than"), (-0.01, 0.3, "not shown to differ from"), (0.0, 0.3, "not shown to differ from"),
     (-0.3, -0.1, "worse than")],
)  # fmt: skip
def test_a_model_is_called_better_only_if_the_interval_excludes_zero(low, high, words):
    verdict = page.verdicts([metric("i2t_accuracy_at_10pct_minus_base", 0.1, low, high)])[0]
    assert verdict["text"].startswith(f"{words} the base model")
    assert verdict["is_better"] == (words == "better than")


def test_shares_are_shown_in_per_cent_and_ranks_as_they_are():
    assert page.cell(metric("i2t_accuracy_at_10pct", 0.7512, 0.601, 0.9)) == {
        "value": "75.1 %",
        "interval": "60.1 – 90.0",
    }
    assert page.cell(metric("i2t_median_rank", 3.5, 2, 7)) == {"value": "3.5", "interval": "2.0 – 7.0"}
    assert page.cell(None) == {"value": "–", "interval": ""}


def test_columns_that_were_not_scored_are_omitted():
    rows = (("i2t_recall_at_1", "Recall at 1"),)
    table = page.table([metric("i2t_recall_at_1", 0.5), metric("i2t_recall_at_1", 0.1, model="random")], "fair", rows)
    assert table["columns"] == ["fine_tuned", "random"]


@pytest.mark.parametrize(
    ("given", "shown"),
    [("SIMULATED;SPIRAL GALAXY", "spiral galaxy (simulated)"), ("GALAXY;SPIRAL", "galaxy, spiral"), (None, "")],
)
def test_target_classes_are_written_for_people(given, shown):
    assert page.class_label(given) == shown


def curves():
    return [
        metric(f"{direction}_accuracy_at_{percent}pct", percent / 100, percent / 200, min(1, percent / 50), model)
        for direction in ("i2t", "t2i")
        for model in ("fine_tuned", "random")
        for percent in PERCENTS
    ]


def test_figures_are_the_same_bytes_each_time_and_well_formed():
    first, again = (figures.figure_bytes(figures.retrieval_figure(curves()), "svg") for _ in range(2))
    assert first == again
    assert ET.fromstring(first).tag.endswith("svg")


def test_curve_has_one_point_per_percent_in_order():
    points = figures.curve(curves(), "fine_tuned", "t2i")
    assert [point.value for point in points] == [percent / 100 for percent in PERCENTS]
    assert figures.curve(curves(), "oracle", "t2i") == []


def test_the_similarity_figure_takes_equal_values():
    same = np.full(10, 0.25)
    assert figures.figure_bytes(figures.similarity_figure({"base": (same, same)}), "png").startswith(b"\x89PNG")


@pytest.mark.parametrize(("num_items", "recall"), [(57, 5), (10, 1), (109, 10), (60, None), (200, None)])
def test_the_page_says_which_recall_is_the_headline_once_more(num_items, recall):
    text = page.equal_rows(num_items)
    assert (f"recall at {recall} once more" in text) if recall else text == ""
