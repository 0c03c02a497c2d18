"""The files of a report: what `metrics.json` holds, and from which models the numbers come."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from evaluation_samples import RUN, metric, sample

from hubbleclip.config.settings import EvaluationSettings
from hubbleclip.evaluation.report import tables, write
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


def test_tables_have_the_values_of_their_protocol_in_the_order_of_rows_and_scorers() -> None:
    metrics = [
        metric("b", 0.1, 0.05, 0.2, model="random"),
        metric("b", 0.7, 0.6, 0.8),
        metric("a", 0.5, None, None),
        metric("a", 0.4, 0.3, 0.5, model="base"),
        metric("a", 0.9, 0.8, 1.0, model="base", protocol="views"),
    ]
    found = tables.table(metrics, "fair", [("a", "Row A"), ("missing", "?"), ("b", "Row B")])
    assert found["columns"] == ["fine_tuned", "base", "random"]
    assert [(one["label"], [cell["value"] for cell in one["cells"]]) for one in found["rows"]] == [
        ("Row A", ["50.0 %", "40.0 %", "–"]),
        ("Row B", ["70.0 %", "–", "10.0 %"]),
    ]
    assert found["rows"][0]["cells"][0]["interval"] == ""
    assert found["rows"][1]["cells"][2]["interval"] == "5.0 – 20.0"


def test_the_headline_is_the_accuracy_of_image_to_text_at_10_percent_beside_chance() -> None:
    name = "i2t_accuracy_at_10pct"
    metrics = [
        metric(name, 0.64, 0.55, 0.71),
        metric(name, 0.1, 0.0, 0.2, model="random"),
        metric(name, 0.3, 0.2, 0.4, model="base"),
        metric("t2i_accuracy_at_10pct", 0.9, 0.8, 1),
        metric(name, 0.99, 0.9, 1, protocol="views"),
        metric(name, 0.2, 0.1, 0.3, model="random", protocol="paperclip"),
    ]
    assert tables.headline(metrics) == {"value": "64.0 %", "interval": "55.0 – 71.0", "chance": "10.0 %"}


def test_differences_are_in_percentage_points_with_their_signs() -> None:
    rows = [
        metric("t2i_accuracy_at_10pct_minus_bm25", -0.123, -0.2004, -0.0561),
        metric("kind_map_minus_shuffled", 0.05, -0.01, 0.11, protocol="zero_shot"),
        metric("kind_map_minus_base", 0.05, None, None, protocol="zero_shot"),
    ]
    assert tables.verdicts(rows) == [
        {
            "task": "text to image",
            "rival": "text search (BM25)",
            "difference": "-12.3",
            "interval": "-20.0 to -5.6",
            "state": "worse",
            "word": "worse",
        },
        {
            "task": "classes of object, zero-shot",
            "rival": "control (shuffled pairs)",
            "difference": "+5.0",
            "interval": "-1.0 to +11.0",
            "state": "open",
            "word": "not shown to differ",
        },
    ]
