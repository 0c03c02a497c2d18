"""A command finds work after each change of a setting, of a file or of the catalog, and none without a change."""

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import valid_catalog
from finished_runs import made_run
from search_site import add_tiles, proposal_row, settings_of, small_model

from hubbleclip.catalog.catalog import Catalog
from hubbleclip.catalog.working_copy import writing_catalog
from hubbleclip.config.settings import Settings
from hubbleclip.core.errors import EvaluationError, TrainingError
from hubbleclip.core.layout import Layout
from hubbleclip.core.records import Report, Run
from hubbleclip.pipeline import train as training
from hubbleclip.pipeline.captions import captions
from hubbleclip.pipeline.engine.stage import open_stage
from hubbleclip.pipeline.evaluate import evaluate
from hubbleclip.pipeline.index import index
from hubbleclip.pipeline.pending_work import (
    chosen_run,
    control_run,
    has_evaluation,
    has_work,
    newest_dataset,
    report_id,
)
from hubbleclip.pipeline.shards import shards
from hubbleclip.pipeline.train import check_training
from hubbleclip.training.runs import read_run

GIVEN: dict[str, Any] = {
    "archive": {"mast_url": "http://127.0.0.1:9"},  # the pipeline asks it only where no other stage has work
    "captions": {"backend": "rules"},
    "shards": {"caption_kinds": ["title"]},
    "evaluation": {"shuffled_steps": 0},
}
SHARED = " ".join(f"word{number}" for number in range(40))
ABSTRACTS = [f"{SHARED} " + " ".join(f"own{proposal}of{number}" for number in range(40)) for proposal in range(2)]
"""Abstracts of two proposals of different splits, which share half of their words."""
SETTINGS: dict[str, list[dict[str, dict[str, Any]]]] = {
    "tiles": [{"tiles": {"size_px": 96}}],
    "captions": [
        {"captions": {"backend": ""}},  # the stage says that it is missing
        {"captions": {"backend": "openai", "model": "other"}},
        {"archive": {"proposals_file": "proposals.jsonl"}},
    ],
    "shards": [
        {"splits": {"near_duplicate": 0.3}},
        {"splits": {"scheme": "instrument", "test_instruments": ["ACS*"]}},
        {"shards": {"max_mb": 1}},
        {"shards": {"caption_kinds": ["abstract", "summary"]}},
    ],
    "train": [{"train": {"steps": 7}}, {"model": {"context_length": 20}}, {"evaluation": {"shuffled_steps": 3}}],
    "evaluate": [{"evaluation": {"bootstrap": 101}}],
    "index": [{"tiles": {"size_px": 96}}],
}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data folder of a profile in which every stage has run; it is only copied."""
    GIVEN["model"] = small_model(tmp_path_factory.mktemp("model") / "small").model_dump()
    settings = settings_of(tmp_path_factory.mktemp("done"), **GIVEN)
    layout = Layout(settings.root)
    add_tiles(settings, range(4), range(1))
    with writing_catalog(layout) as catalog:
        found = [replace(proposal_row(number), abstract=text) for number, text in enumerate(ABSTRACTS)]
        catalog.upsert({"proposal": found})
    captions(settings)
    shards(settings)
    run_dir = made_run(layout.root, newest_dataset(layout).name, settings.model, settings.train)
    report = report_id(run_dir, newest_dataset(layout).name, None, settings)
    write(layout.reports / report / "index.html")
    with writing_catalog(layout) as catalog:
        decided = valid_catalog.promotion(run_dir.name, None, None)
        catalog.upsert({"run": [read_run(run_dir).run], "promotion": [decided]})
        catalog.upsert({"report": [valid_catalog.make(Report, report_id=report, run_id=run_dir.name)]})
    index(settings, batch_size=3, append_rows=2)
    return settings.data


def write(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("damaged")


def test_only_a_training_that_is_not_finished_needs_a_gpu(
    done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise TrainingError("no GPU")

    monkeypatch.setattr(training, "check_device", refuse)
    for rank, num in (("1", 0), ("0", 1)):  # of several processes, the first one sends the run
        monkeypatch.setenv("RANK", rank)
        training.train(settings_of(done, **GIVEN, store=f"file://{tmp_path}"))
        assert len(list(tmp_path.glob("demo/runs/*/run.json"))) == num
    for other in ({"train": {"seed": 2}}, {"evaluation": {"shuffled_steps": 3}}):
        with pytest.raises(TrainingError, match="no GPU"):
            training.train(settings_of(done, **GIVEN | other))


@pytest.mark.parametrize("command", SETTINGS)
def test_without_a_change_there_is_no_work(command: str, done: Path) -> None:
    assert not has_work(command, settings_of(done, **GIVEN))


@pytest.mark.parametrize("command", SETTINGS)
def test_another_setting_is_work(command: str, done: Path) -> None:
    for changes in SETTINGS[command]:
        changed = settings_of(done, **GIVEN | {name: GIVEN.get(name, {}) | some for name, some in changes.items()})
        assert has_work(command, changed), changes
    assert has_work("pipeline", changed)


def test_the_newest_run_is_evaluated_and_by_the_pipeline_that_of_its_settings(done: Path, tmp_path: Path) -> None:
    settings = settings_of(shutil.copytree(done, tmp_path / "data"), **GIVEN)
    layout = Layout(settings.root)
    (first,) = layout.runs.glob("[!.]*")
    digest = newest_dataset(layout).name
    newest = made_run(layout.root, digest, settings.model, settings.train.model_copy(update={"steps": 2}))
    control = made_run(layout.root, digest, settings.model, settings.train.model_copy(update={"shuffled": True}))
    wants_control = settings_of(settings.data, **GIVEN | {"evaluation": {"shuffled_steps": 9}})
    assert chosen_run(layout, digest, settings) == newest
    assert (
        chosen_run(layout, digest, settings, first.name) == chosen_run(layout, digest, settings, is_own=True) == first
    )
    assert has_work("evaluate", settings)
    with open_stage("pipeline", settings) as stage:
        assert not has_evaluation(stage)
    assert control_run(layout, digest, wants_control) == control  # of another length, so that a report has one
    with pytest.raises(EvaluationError, match="control with shuffled pairs"):
        evaluate(settings, control.name)
    assert report_id(first, digest, None, settings) != report_id(first, "of a new dataset", None, settings)


def test_the_device_and_the_weights_are_checked_only_before_a_training(
    done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise TrainingError("no GPU")

    monkeypatch.setattr("hubbleclip.pipeline.train.check_device", fail)
    settings = settings_of(shutil.copytree(done, tmp_path / "data"), **GIVEN)
    check_training(settings)
    os.utime(Layout(settings.root).working_catalog)  # as after a kill
    assert has_work("train", settings)
    check_training(settings)
    for section, changes in {"train": {"steps": 7}, "tiles": {"size_px": 96}, "shards": {"max_mb": 1}}.items():
        with pytest.raises(TrainingError, match="no GPU"):
            check_training(settings_of(settings.data, **GIVEN | {section: changes}))


def test_features_that_an_interrupted_drop_has_written_are_not_embedded_again(
    done: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = settings_of(shutil.copytree(done, tmp_path / "data"), **GIVEN)
    caplog.set_level("INFO")
    (folder,) = Layout(settings.root).index.glob("[!.]*/")
    folder.rename(folder.with_name(f".{folder.name}.new"))
    assert has_work("index", settings)
    index(settings)
    assert ", 0 are to be embedded" in caplog.text
    assert not has_work("index", settings)


def of_run(catalog: Catalog, layout: Layout) -> Path:
    return layout.absolute(catalog.rows("FROM run")[0]["path"])


def promote_another(catalog: Catalog, settings: Settings, layout: Layout) -> None:
    run = replace(valid_catalog.make(Run, run_id="20990102T000000-00000001"), path="runs/other")
    layout.absolute(run.path).mkdir()
    decided = valid_catalog.promotion(run.run_id, None, None)
    catalog.upsert({"run": [run], "promotion": [replace(decided, decided_at=decided.decided_at.replace(year=2099))]})


def new_tile(catalog: Catalog, settings: Settings, layout: Layout) -> None:
    tile = valid_catalog.tile("7", settings_digest=settings.tiles.digest(), product_uri="mast:0-0")
    product = catalog.rows("FROM product WHERE uri = 'mast:0-0'")[0]
    catalog.upsert({"tile": [replace(tile, product_sha256=product["sha256"])]})


def abstract(number: int, text: str) -> Callable[[Catalog, Settings, Layout], None]:
    changed = replace(proposal_row(number), abstract=text)
    return lambda catalog, settings, layout: catalog.upsert({"proposal": [changed]})


CHANGES: dict[str, dict[str, Callable[[Catalog, Settings, Layout], Any]]] = {
    "captions": {"an abstract is changed": abstract(3, "We observe a quasar.")},
    "shards": {
        "a tile is new": new_tile,
        "an abstract, which is no caption, is that of another split": abstract(1, ABSTRACTS[0]),
        "the description is lost": lambda c, s, x: next(x.datasets.glob("*/dataset.json")).unlink(),
    },
    "train": {
        "a dataset is new": lambda c, s, x: c.upsert(
            {"dataset": [valid_catalog.dataset("b", built_at=datetime(2099, 1, 1, tzinfo=UTC))]}
        ),
        "the run is lost": lambda c, s, x: shutil.rmtree(of_run(c, x)),
    },
    "evaluate": {
        "the page is lost": lambda c, s, x: next(x.reports.glob("*/index.html")).unlink(),
        "its row is lost": lambda c, s, x: c.connection.execute("DELETE FROM report"),
        "nothing was decided on it": lambda c, s, x: (
            promote_another(c, s, x),
            c.connection.execute("DELETE FROM promotion WHERE run_id < '2099'"),
        ),
        "no run is promoted": lambda c, s, x: c.connection.execute("DELETE FROM promotion"),
    },
    "index": {
        "a tile is new": new_tile,
        "another run is promoted": promote_another,
        "the features are lost": lambda c, s, x: [shutil.rmtree(path) for path in x.index.glob("*/")],
        "its description is damaged": lambda c, s, x: write(x.current_index),
    },
}


@pytest.mark.parametrize(
    ("command", "change"), [(command, change) for command, changes in CHANGES.items() for change in changes]
)
def test_another_catalog_or_file_is_work(command: str, change: str, done: Path, tmp_path: Path) -> None:
    settings = settings_of(shutil.copytree(done, tmp_path / "data"), **GIVEN)
    layout = Layout(settings.root)
    with writing_catalog(layout) as catalog:
        CHANGES[command][change](catalog, settings, layout)
        catalog.changed = True
    assert has_work(command, settings)
