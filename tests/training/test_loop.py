import signal
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest
import torch
from opened_trainers import trained
from squares_dataset import MODEL, TRAIN, make_dataset
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from hubbleclip.config.settings import ModelSettings
from hubbleclip.core.errors import DatasetError, SettingsError, TrainingError
from hubbleclip.dataset.manifest import read_dataset
from hubbleclip.training import checkpoints
from hubbleclip.training.distributed import World
from hubbleclip.training.loop import _open_batches, train
from hubbleclip.training.models.builder import load_model
from hubbleclip.training.runs import read_run, settings_digest
from hubbleclip.training.tracking import read_metrics
from hubbleclip.training.trainer import Trainer


@pytest.fixture(scope="module")
def run_dir(dataset_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(dataset_dir, tmp_path_factory.mktemp("runs"), MODEL, TRAIN, code_version="test")


def rows_without_times(run_dir: Path) -> list[dict[str, float]]:
    return [{k: v for k, v in row.items() if not k.endswith("_s")} for row in read_metrics(run_dir)]


class KilledError(Exception):
    pass


@pytest.mark.parametrize("killed_at", [1, 5])
def test_resumed_run_has_the_curve_and_weights_of_an_uninterrupted_one(
    dataset_dir, run_dir, tmp_path, killed_at
) -> None:
    def kill(step: int, _metrics) -> None:
        if step == killed_at:
            raise KilledError

    with pytest.raises(KilledError):
        train(dataset_dir, tmp_path, MODEL, TRAIN, code_version="test", on_progress=kill)
    resumed = train(dataset_dir, tmp_path, MODEL, TRAIN, code_version="test")
    assert len(list(tmp_path.iterdir())) == 1
    assert rows_without_times(resumed) == rows_without_times(run_dir)
    assert checkpoints.read_best(resumed) == checkpoints.read_best(run_dir)
    ours, theirs = (checkpoints.read_checkpoint(path, TRAIN.steps)["state_dict"] for path in (resumed, run_dir))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_finished_run_is_returned_at_once(dataset_dir, run_dir) -> None:
    seen = []
    again = train(
        dataset_dir, run_dir.parent, MODEL, TRAIN, code_version="later", on_progress=lambda s, m: seen.append(s)
    )
    assert (again, seen) == (run_dir, [])


def test_any_other_process_joins_the_run_of_the_first(dataset_dir, run_dir, tmp_path, monkeypatch) -> None:
    received, own = iter((run_dir, True)), []

    def broadcast(box: list[object], src: int) -> None:
        own.append(box[0])
        box[0] = next(received)

    monkeypatch.setattr(torch.distributed, "broadcast_object_list", broadcast)
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr("hubbleclip.training.distributed.DistributedDataParallel", lambda model, device_ids: model)
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    best = (run_dir / checkpoints.BEST).stat().st_ino
    assert train(dataset_dir, tmp_path, MODEL, TRAIN, code_version="test") == run_dir
    assert own[1:] == [True]  # all steps are taken in the checkpoint of the first
    assert (run_dir / checkpoints.BEST).stat().st_ino == best  # which alone writes


def test_each_process_has_its_own_rows_of_a_batch(dataset_dir) -> None:
    info, loaded = read_dataset(dataset_dir), load_model(MODEL, 1)
    worlds = (World(rank=rank, size=size, device=torch.device("cpu")) for rank, size in ((0, 1), (0, 2), (1, 2)))
    whole, *parts = (_open_batches(info, TRAIN, loaded, one)[1] for one in worlds)
    for rank, part in enumerate(parts):
        assert all(map(torch.equal, part, (one[rank::2] for one in whole)))


def test_a_run_that_continues_another_has_its_rows_and_takes_the_steps_that_are_left(dataset_dir, run_dir) -> None:
    seen, settings = [], TRAIN.model_copy(update={"steps": 8, "resume": run_dir.name})
    progress = {"on_progress": lambda step, _: seen.append(step)}
    longer = train(dataset_dir, run_dir.parent, MODEL, settings, code_version="test", **progress)
    assert (longer != run_dir, seen) == (True, [7, 8])
    assert rows_without_times(longer)[:6] == rows_without_times(run_dir)
    states = [checkpoints.read_checkpoint(run, 6)["state_dict"].values() for run in (longer, run_dir)]
    assert all(map(torch.equal, *states))


FILES = ("weights.pth", "a.safetensors", "a.bin", "config.json", "words.model", "vocab.txt", "merges.txt")


@pytest.mark.parametrize(
    ("names", "files"), [({"name": "x", "pretrained": "{}/weights.pth"}, FILES[:1]), ({"name": "local-dir:{}"}, FILES)]
)
def test_other_weights_in_the_same_file_make_another_run_and_notes_beside_them_do_not(names, files, tmp_path) -> None:
    digests = set()
    for name, content in product(files, (b"one", b"two")):
        (tmp_path / name).write_bytes(content)
        model = ModelSettings(**{key: value.format(tmp_path) for key, value in names.items()})
        digests.add(settings_digest(model, TRAIN))
    assert len(digests) == 2 * len(files)
    (tmp_path / "notes.txt").write_text("good")
    assert settings_digest(model, TRAIN) in digests


def test_rows_have_the_metrics_that_a_reader_needs_and_the_record_its_origin(run_dir, dataset_dir) -> None:
    rows = read_metrics(run_dir)
    assert [row["step"] for row in rows] == list(range(1, 7))
    needed = "loss multi_positive_loss learning_rate logit_scale grad_norm samples_seen samples_per_s loader_s"
    assert all({*needed.split()} <= row.keys() for row in rows)
    assert [row["step"] for row in rows if "val_accuracy_10" in row] == [2, 4, 6]
    events = EventAccumulator(str(run_dir / "tensorboard")).Reload()
    assert [one.step for one in events.Scalars("loss")] == list(range(1, 7))
    run = read_run(run_dir).run
    assert (run.dataset_digest, run.code_version, run.device) == (dataset_dir.name, "test", "cpu")


def test_nothing_is_left_behind_when_a_training_cannot_start(dataset_dir, tmp_path) -> None:
    for wrong in ({"model": ModelSettings(name="nothing", pretrained="")}, {"loss": "nothing"}):
        with pytest.raises((TrainingError, SettingsError)):
            trained(dataset_dir, tmp_path / "runs", **wrong)
    with pytest.raises(DatasetError, match="1 proposal group"):
        trained(make_dataset(tmp_path / "few", num_groups=1), tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_a_checkpoint_is_written_after_the_metrics_of_its_step(dataset_dir, tmp_path, monkeypatch) -> None:
    save, steps = Trainer.save, []

    def killed_after(trainer: Trainer) -> None:
        save(trainer)
        steps.append((trainer.step, [row["step"] for row in read_metrics(trainer.run_dir)]))

    monkeypatch.setattr(Trainer, "save", killed_after)
    trained(dataset_dir, tmp_path, steps=4, checkpoint_every=1)  # a row at each step, validation at every second
    assert steps == [(step, list(range(1, step + 1))) for step in range(1, 5)]


def test_a_run_that_was_killed_when_its_patience_had_ended_takes_no_further_step(
    dataset_dir, tmp_path, monkeypatch
) -> None:
    periods = {"patience": 2, "validate_every": 1, "checkpoint_every": 1, "log_every": 1}
    patient = TRAIN.model_copy(update={"steps": 40, "learning_rate": 1e-9, **periods})

    def killed(*_: object) -> None:
        raise KilledError

    with monkeypatch.context() as patch, pytest.raises(KilledError):
        patch.setattr("hubbleclip.training.loop.finish_run", killed)
        train(dataset_dir, tmp_path, MODEL, patient, code_version="test")
    (started,) = tmp_path.iterdir()
    before = rows_without_times(started)
    assert before[-1]["step"] < 40
    assert rows_without_times(train(dataset_dir, tmp_path, MODEL, patient, code_version="test")) == before
    other = train(dataset_dir, tmp_path, MODEL, patient.model_copy(update={"checkpoint_every": 4}), code_version="test")
    assert [row["step"] for row in read_metrics(other)] == [1, 2, 3]  # it stops between two checkpoints


SCRIPT = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from opened_trainers import trained
from squares_dataset import MODEL
from hubbleclip.config.settings import TrainSettings
from hubbleclip.training.loop import train
def kill(step, _):
    if step == int(sys.argv[5]):
        os.kill(os.getpid(), signal.SIGKILL)
settings = TrainSettings.model_validate_json(sys.argv[4])
train(Path(sys.argv[1]), Path(sys.argv[2]), MODEL, settings, code_version="test", on_progress=kill)
"""
SETTINGS = TRAIN.model_copy(update={"steps": 24, "checkpoint_every": 3, "validate_every": 4, "ema": 0.9, "patience": 8})


@pytest.mark.slow
def test_killed_at_three_steps_the_curve_is_that_of_an_uninterrupted_training(tmp_path) -> None:
    dataset, runs = make_dataset(tmp_path / "datasets"), tmp_path / "killed"
    undisturbed = train(dataset, tmp_path / "undisturbed", MODEL, SETTINGS, code_version="test")
    for workers, step in enumerate((2, 9, 17)):  # before the first checkpoint, and while one is due or not
        settings = SETTINGS.model_copy(update={"workers": workers}).model_dump_json()
        arguments = [SCRIPT, dataset, runs, Path(__file__).parent, settings, step]
        done = subprocess.run([sys.executable, "-c", *map(str, arguments)], check=False)
        assert done.returncode == -signal.SIGKILL
    resumed = train(dataset, runs, MODEL, SETTINGS, code_version="test")
    assert len(list(runs.iterdir())) == 1
    assert rows_without_times(resumed) == rows_without_times(undisturbed)
    assert checkpoints.read_best(resumed) == checkpoints.read_best(undisturbed)
