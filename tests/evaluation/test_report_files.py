"""The files of a report: what `metrics.json` holds, and from which models the numbers come."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from evaluation_samples import RUN, metric, sample

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


def test_an_end_of_an_interval_that_is_unknown_is_null_in_the_file() -> None:
    (row,) = json.loads(write.metrics_json([metric("i2t_map", 0.5, 0.4, None)], {}))["metrics"]
    names = {"protocol": "fair", "split": "test", "model": "fine_tuned", "name": "i2t_map"}
    assert row == names | {"value": 0.5, "low": 0.4, "high": None}


def test_the_base_model_is_that_of_the_run_and_other_runs_are_their_checkpoints() -> None:
    here, there = Path("runs/a"), Path("runs/b")
    sources = write.model_sources(here, {"shuffled": None, "other": there}, "bf16")
    assert {name: (one.run_dir, one.is_base) for name, one in sources.items()} == {
        "fine_tuned": (here, False),
        "other": (there, False),
        "base": (here, True),
    }
    assert {one.precision for one in sources.values()} == {"bf16"}
