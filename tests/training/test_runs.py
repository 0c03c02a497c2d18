"""Run directories: the facts that `run.json` records, and which of several runs is found."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from squares_dataset import MODEL, TRAIN

from hubbleclip.config.settings import ModelSettings, TrainSettings
from hubbleclip.core.records import Run
from hubbleclip.training import checkpoints
from hubbleclip.training.runs import (
    find_run,
    finish_run,
    open_run,
    read_facts,
    read_model_settings,
    read_run,
    read_train_settings,
    settings_digest,
    state_of,
    write_facts,
)


def finished(runs_dir: Path, model: ModelSettings = MODEL, settings: TrainSettings = TRAIN, best_step: int = 4) -> Path:
    with open_run(runs_dir, "data", model, settings, code_version="1.2", device="A GPU") as run:
        checkpoints.write_checkpoint(run, best_step, {"state_dict": {}})
        finish_run(run, 4321, best_step, checkpoints.read_checkpoint_records(run))
    return run


def test_a_finished_run_records_its_settings_data_code_device_and_outcome(tmp_path: Path) -> None:
    model = ModelSettings(name="RN50", pretrained="openai", context_length=99)
    settings = TrainSettings(loss="siglip", shuffled=True, steps=77, seed=12, batch_size=8, wise_alphas=(0.25, 1.0))
    started = datetime.now(UTC)
    path = finished(tmp_path / "runs", model, settings, best_step=33)
    run = read_run(path).run
    expected = Run(
        run_id=path.name,
        dataset_digest="data",
        settings_digest=settings_digest(model, settings),
        path=f"runs/{path.name}",
        model="RN50",
        pretrained="openai",
        loss="siglip",
        is_shuffled=True,
        steps=77,
        samples_seen=4321,
        seed=12,
        device="A GPU",
        best_step=33,
        settings=run.settings,
        code_version="1.2",
        started_at=run.started_at,
        ended_at=run.ended_at,
    )
    assert run == expected
    assert abs((run.started_at - started).total_seconds()) < 60
    assert run.started_at.utcoffset() == run.ended_at.utcoffset() == started.utcoffset()
    assert path.name.startswith(f"{run.started_at:%Y%m%dT%H%M%S}-")
    assert json.loads(run.settings).keys() == {"model", "train"}
    assert read_model_settings(path) == model
    assert read_train_settings(path) == settings
    assert [one.step for one in read_run(path).checkpoints] == [33]


def test_the_newest_of_the_runs_with_the_same_data_settings_and_status_is_found(tmp_path: Path) -> None:
    digest = settings_digest(MODEL, TRAIN)
    first = finished(tmp_path)
    first = first.rename(tmp_path / f"20200101T000000-{first.name[-8:]}")
    second = finished(tmp_path)
    second = second.rename(tmp_path / f"20210101T000000-{second.name[-8:]}")
    with open_run(tmp_path, "data", MODEL, TRAIN, code_version="1", device="cpu") as running:
        pass
    hidden = tmp_path / "hidden"
    finished(hidden).rename(hidden / ".copy")
    assert first.name < second.name < running.name
    assert find_run(tmp_path, "data", digest) == second
    assert find_run(tmp_path, "data", digest, is_finished=False) == running
    assert find_run(tmp_path, "other data", digest) is find_run(hidden, "data", digest) is None


@pytest.mark.parametrize(
    ("model", "settings"),
    [
        ({"name": "RN50"}, {}),
        ({"context_length": 80}, {}),
        ({}, {"learning_rate": 2e-3}),
        ({}, {"hard_share": 0.5}),
        ({}, {"captions": {"summary": 1.0}}),
        ({}, {"distillation_weight": 1.0}),
        ({}, {"shuffled": True}),
    ],
)
def test_settings_that_change_the_weights_change_the_digest(model: dict, settings: dict) -> None:
    changed = settings_digest(MODEL.model_copy(update=model), TRAIN.model_copy(update=settings))
    assert changed != settings_digest(MODEL, TRAIN)


def test_the_number_of_loader_threads_does_not_change_the_digest() -> None:
    assert settings_digest(MODEL, TRAIN.model_copy(update={"workers": 3})) == settings_digest(MODEL, TRAIN)


def test_a_run_starts_after_all_others_even_if_the_clock_was_ahead_and_hidden_folders_do_not_count(
    tmp_path: Path,
) -> None:
    for year, name in ((2091, "b"), (2090, "c"), (2095, ".hidden")):
        run = finished(tmp_path).rename(tmp_path / name)
        write_facts(run, read_facts(run) | {"started_at": f"{year}-05-01T00:00:00+00:00"})
    with open_run(tmp_path, "data", MODEL, TRAIN, code_version="1", device="cpu") as run:
        assert read_facts(run)["started_at"] == "2091-05-01T00:00:01+00:00"


def test_a_run_that_no_process_trains_is_stopped_or_killed_unless_it_is_finished(tmp_path: Path) -> None:
    with open_run(tmp_path, "data", MODEL, TRAIN, code_version="1", device="cpu") as run:
        assert state_of(run, read_facts(run)["status"]) == "running"
    assert read_facts(run)["status"] == "stopped"
    assert [state_of(run, status) for status in ("running", "stopped", "finished")] == ["killed", "stopped", "finished"]
