"""The files of a report: what `metrics.json` holds, and from which models the numbers come."""

from types import SimpleNamespace

import pytest
from evaluation_samples import RUN, sample

from hubbleclip.config.settings import EvaluationSettings
from hubbleclip.evaluation.report import write
from hubbleclip.evaluation.test_set import make_test_set

INFO = SimpleNamespace(digest="evaluated-on", description={"counts": {"test": {"samples": 6}}})


@pytest.mark.parametrize("archive", ["hst", "simulated"])
def test_one_tile_of_the_simulated_archive_makes_a_test_set_simulated(archive: str) -> None:
    rows = [sample(number, number // 2, archive=archive if number == 3 else "hst") for number in range(6)]
    facts = write.report_facts(INFO, RUN, make_test_set(rows), EvaluationSettings(), "4.5.6")
    assert facts["is_simulated"] == (archive == "simulated")
    assert (facts["dataset_digest"], facts["trained_on_digest"]) == ("evaluated-on", RUN.dataset_digest)
