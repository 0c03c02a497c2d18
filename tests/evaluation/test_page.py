from dataclasses import astuple
from types import SimpleNamespace

import numpy as np
import pytest
from evaluation_samples import RUN, estimate, sample

from hubbleclip.config.settings import EvaluationSettings
from hubbleclip.evaluation.estimates import as_metric
from hubbleclip.evaluation.report import page, write
from hubbleclip.evaluation.test_set import make_test_set


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
