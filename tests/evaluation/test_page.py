from dataclasses import astuple
from types import SimpleNamespace

import numpy as np
import pytest
from evaluation_samples import RUN, estimate, metric, sample

from hubbleclip.config.settings import EvaluationSettings
from hubbleclip.evaluation.estimates import as_metric
from hubbleclip.evaluation.names import HEADLINE
from hubbleclip.evaluation.report import page, tables, write
from hubbleclip.evaluation.test_set import make_test_set


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (0.01, 0.3, ("better", "better")),
        (-0.01, 0.3, ("not shown to differ", "open")),
        (0.0, 0.3, ("not shown to differ", "open")),
        (-0.3, -0.1, ("worse", "worse")),
    ],
)
def test_a_model_is_called_better_only_if_the_interval_excludes_zero(low, high, words):
    (verdict,) = tables.verdicts(
        [metric("i2t_accuracy_at_10pct_minus_base", 0.1, low, high), metric("i2t_recall_at_1", 1)]
    )
    assert (verdict["word"], verdict["state"]) == words
    assert (verdict["rival"], verdict["task"], verdict["difference"]) == ("base model", "image to text", "+10.0")


@pytest.mark.parametrize(
    ("low", "high", "state"),
    [(0.11, 0.3, "above"), (0.02, 0.09, "below"), (0.1, 0.3, "not shown to differ"), (0.0, 0.1, "not shown to differ")],
)
def test_what_is_said_of_the_control_is_what_its_interval_says(low, high, state):
    rows = [metric(HEADLINE, 0.1, model="random"), metric(HEADLINE, 0.05, low, high, model="shuffled")]
    said = (
        f"The control reaches 5.0 % ({100 * low:.1f} – {100 * high:.1f}) from image to text, where chance is 10.0 %: "
    )
    assert tables.control_text(rows).startswith(f"{said}{state}.")
    assert tables.control_text(rows[:1]) == ""


@pytest.mark.parametrize(("num_items", "recall"), [(57, 5), (10, 1), (109, 10), (60, None), (200, None)])
def test_the_page_says_which_recall_is_the_headline_once_more(num_items, recall):
    text = tables.equal_rows(num_items)
    assert (f"recall at {recall} once more" in text) if recall else text == ""


def test_texts_of_the_archive_are_no_markup():
    shown = page.environment().from_string("{{ title }}").render(title="<b>M 31</b> & M 32")
    assert shown == "&lt;b&gt;M 31&lt;/b&gt; &amp; M 32"


INFO = SimpleNamespace(digest="evaluated-on", description={"counts": {"test": {"samples": 6}}})


@pytest.mark.parametrize("archive", ["hst", "simulated"])
def test_one_tile_of_the_simulated_archive_makes_a_test_set_simulated(archive: str) -> None:
    rows = [sample(number, number // 2, archive=archive if number == 3 else "hst") for number in range(6)]
    facts = write.report_facts(INFO, RUN, make_test_set(rows), EvaluationSettings(), "4.5.6")
    assert facts["is_simulated"] == (archive == "simulated")
    assert (facts["dataset_digest"], facts["trained_on_digest"]) == ("evaluated-on", RUN.dataset_digest)


def test_a_row_of_the_catalog_is_of_the_test_split_and_has_six_decimals() -> None:
    one = estimate(1 / 3, scorer="bm25", draws_b=np.array([0.2, 0.4, 0.5]), sizes_g=np.full(50, 2))
    low, high = one.interval()
    names = ("run", "fair", "test", "bm25", "i2t_accuracy_at_10pct")
    assert astuple(as_metric(one, "run")) == (*names, 0.333333, round(low, 6), round(high, 6))
    assert low < 1 / 3 < high
