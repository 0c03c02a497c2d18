"""The stages after the tiles: what they leave in catalog, store and folders, in which order, and after which failure."""

from collections.abc import Callable
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from unittest.mock import patch

import pytest
from finished_runs import made_run
from squares_dataset import MODEL, TRAIN, make_dataset
from valid_catalog import dataset, hex_of, make

from hubbleclip.catalog.catalog import read_catalog
from hubbleclip.catalog.lock import catalog_lock
from hubbleclip.catalog.working_copy import writing_catalog
from hubbleclip.cli.options import Options
from hubbleclip.cli.running import run_stage
from hubbleclip.config.settings import Settings, read_settings
from hubbleclip.config.toml import read_grid, settings_toml
from hubbleclip.core.errors import ArchiveError, DatasetError, HubbleclipError, RejectedShareError, SettingsError
from hubbleclip.core.io import read_json
from hubbleclip.core.layout import Layout
from hubbleclip.core.records import Placement
from hubbleclip.pipeline.dataset import Growth, read_growth
from hubbleclip.pipeline.dataset import dataset as dataset_stage
from hubbleclip.pipeline.engine.stage import layout_of, open_stage
from hubbleclip.pipeline.evaluate import compare, evaluate
from hubbleclip.pipeline.pending_work import newest_dataset
from hubbleclip.pipeline.train import sweep, train
from hubbleclip.training.checkpoints import write_best


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A profile with a remote store, a dataset and a finished run on it, with its control."""
    folder = tmp_path_factory.mktemp("profile")
    overrides = {"data": str(folder), "store": f"file://{folder}/store", "evaluation": {"bootstrap": 100}}
    settings = read_settings("demo", overrides)
    dataset_dir = make_dataset(settings.root / "datasets", 15)
    for is_shuffled in (False, True):
        made_run(settings.root, dataset_dir.name, MODEL, TRAIN.model_copy(update={"shuffled": is_shuffled}))
    with open_stage("shards", settings) as stage:
        stage.catalog.upsert({"dataset": [dataset("1", digest=dataset_dir.name, path=f"datasets/{dataset_dir.name}")]})
    return settings


def test_a_report_its_rows_and_its_copy_in_the_store_are_written_once(settings: Settings) -> None:
    unplugged = OSError("unplugged")
    for step in ("push_folder", "promote"):  # before the rows of the report, and before the decision
        with patch(f"hubbleclip.pipeline.evaluate.{step}", side_effect=unplugged), pytest.raises(OSError, match="unp"):
            evaluate(settings)
    first = evaluate(settings)
    layout, report_dir, run_id = layout_of(settings), first.report_dir, first.report_dir.name.rpartition("-")[0]
    copies = settings.data / "store/demo/reports" / report_dir.name
    files = {path.relative_to(report_dir): path.read_bytes() for path in report_dir.rglob("*") if path.is_file()}
    assert {path.relative_to(copies): path.read_bytes() for path in copies.rglob("*") if path.is_file()} == files
    assert first.decision and (first.decision.run_id, first.decision.is_promoted) == (run_id, True)
    with read_catalog(layout) as catalog:
        (report,), runs = catalog.rows("FROM report"), catalog.rows("FROM run ORDER BY is_shuffled")
        models = {row["model"] for row in catalog.rows("FROM metric WHERE run_id = ?", [run_id])}
        steps = {row["run_id"]: row["step"] for row in catalog.rows("FROM checkpoint")}
    assert (report["report_id"], report["run_id"], report["path"]) == (
        report_dir.name,
        run_id,
        f"reports/{report_dir.name}",
    )
    assert report["settings_digest"] == settings.evaluation.digest()
    assert [run["is_shuffled"] for run in runs] == [False, True] and runs[0]["run_id"] == run_id
    assert {"fine_tuned", "shuffled", "base"} <= models and steps == {run["run_id"]: 4 for run in runs}
    again = evaluate(settings, run_id[:20])
    assert (again.report_dir, again.decision, len(again.metrics)) == (report_dir, None, len(first.metrics))
    with open_stage("evaluate", settings) as stage:  # as after a kill, of the report before its rows, and a clock ahead
        stage.catalog.connection.execute("DELETE FROM promotion; UPDATE report SET report_id='a', made_at='2090-01-01'")
        stage.catalog.changed = True
    for path in layout.runs.rglob("*.pt"):  # as on a machine that has only the descriptions of the runs
        path.unlink()
    decided = evaluate(settings).decision
    assert decided and decided.is_promoted
    with read_catalog(layout) as catalog:
        assert catalog.rows("SELECT report_id FROM report ORDER BY made_at DESC")[0]["report_id"] == report_dir.name


def test_a_comparison_has_its_own_page_and_leaves_the_catalog_as_it_is(settings: Settings) -> None:
    layout = layout_of(settings)
    run, other = sorted(path.name for path in layout.runs.iterdir())[::-1]
    before = layout.catalog.read_bytes()
    page = compare(run, other, settings)
    assert page == layout.reports / f"{run}-beside-{other}/index.html" and page.is_file()
    facts = read_json(page.with_name("metrics.json"))
    assert (facts["run_id"], facts["other_run_id"]) == (run, other)
    assert layout.catalog.read_bytes() == before
    with pytest.raises(HubbleclipError, match=f"both ids mean the run {run}: give another"):
        compare(run, run[:20], settings)


def test_new_samples_are_those_of_the_newest_dataset_that_the_last_training_did_not_have(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    with writing_catalog(layout):
        pass
    assert read_growth(layout) is None
    with writing_catalog(layout) as catalog:
        trained, newest = dataset("1"), dataset("2", built_at=datetime(2026, 1, 2, tzinfo=UTC))
        places = {trained.digest: "ab", newest.digest: "bcd"}
        rows = [
            make(Placement, dataset_digest=digest, tile_id=hex_of(one, 32))
            for digest in places
            for one in places[digest]
        ]
        catalog.upsert({"dataset": [trained, newest], "placement": rows})
    assert read_growth(layout) == Growth(newest.digest, 3)
    made_run(tmp_path, trained.digest)
    made_run(tmp_path, newest.digest, settings=TRAIN.model_copy(update={"shuffled": True}))
    assert read_growth(layout) == Growth(newest.digest, 2)


def test_a_sweep_trains_each_combination_and_lists_the_best_first(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def run(stage: Callable[[Settings], object], chosen: Settings, label: str) -> None:
        asked.append((stage, label, chosen.train.batch_size, chosen.evaluation.shuffled_steps))
        run_dir = made_run(chosen.root, newest_dataset(layout_of(chosen)).name, chosen.model, chosen.train)
        write_best(run_dir, 4, {2: 0.2, 3: None, 4: 0.3}[chosen.train.seed])

    (tmp_path / "grid.toml").write_text("[train]\nseed = [2, 3, 4]\nsteps = [4]\n")
    grid = read_grid(tmp_path / "grid.toml")
    overrides = {"data": str(settings.data), "model": MODEL.model_dump(), "train": {"batch_size": 7, "seed": 9}}
    overrides |= {"evaluation": {"shuffled_steps": 5}}
    rows = sweep("demo", overrides, grid, run)
    assert asked == [(train, f"train.seed {seed}, train.steps 4", 7, 0) for seed in (2, 3, 4)]
    assert [(row["train.seed"], row["train.steps"], row["best_step"], row["val_accuracy_10"]) for row in rows] == [
        (4, 4, 4, 0.3),
        (2, 4, 4, 0.2),
        (3, 4, 4, None),
    ]
    assert len({row["run"] for row in rows}) == 3
    assert sweep("demo", overrides, grid, lambda *_: None) == rows, "all are trained already"
    (tmp_path / "demo.toml").write_text(settings_toml(read_settings("demo", overrides)))
    options = Options(profile=str(tmp_path / "demo.toml"), data=settings.data)
    monkeypatch.setenv("RANK", "1")
    with catalog_lock(layout_of(settings)):  # the second process of torchrun, without Prefect
        assert run_stage("sweep", options, server=True, grid=grid) == rows
    with pytest.raises(HubbleclipError, match="the newest dataset changed during the sweep: run the sweep again"):
        sweep("demo", overrides, {"train.seed": [9]}, lambda *_: None)


@pytest.mark.parametrize(
    ("failures", "expected", "error"),
    [
        ({}, "ingest tiles captions shards", None),
        ({"ingest": ArchiveError("down")}, "ingest tiles captions shards", "down"),
        (
            {"tiles": RejectedShareError("many"), "shards": DatasetError("no sample")},
            "ingest tiles captions shards",
            "many",
        ),
        ({"ingest": ArchiveError("down"), "tiles": RejectedShareError("many")}, "ingest tiles captions shards", "down"),
        ({"shards": DatasetError("no sample")}, "ingest tiles captions shards", "no sample"),
        ({"tiles": SettingsError("wrong")}, "ingest tiles", "wrong"),
        ({}, "ingest tiles shards", None),
    ],
)
def test_the_stages_after_a_failure_process_what_exists_and_the_first_error_is_raised(
    failures: dict[str, Exception], expected: str, error: str | None
) -> None:
    begun = []

    def run(stage: Callable[[Settings], object], settings: Settings) -> None:
        begun.append(stage.__name__)
        if found := failures.get(stage.__name__):
            raise found

    settings = read_settings("demo", {}, {"captions": {"backend": "rules" if "captions" in expected else ""}})
    with pytest.raises(HubbleclipError, match=f"^{error}$") if error else nullcontext():
        dataset_stage(settings, run)
    assert begun == expected.split()


def test_a_pipeline_checks_its_training_before_it_asks_the_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages = ("train.check_training", "dataset.dataset", "train.train", "evaluate.evaluate_own", "index.index_promoted")
    begun: list[str] = []
    for name in stages:
        monkeypatch.setattr(f"hubbleclip.pipeline.{name}", lambda _, name=name: begun.append(name))
    run_stage("pipeline", Options(data=tmp_path), server=False)
    assert begun == [*stages]
