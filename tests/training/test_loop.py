from pathlib import Path

import pytest
import torch
from squares_dataset import MODEL, TRAIN, make_dataset

from hubbleclip.config.settings import ModelSettings
from hubbleclip.core.errors import DatasetError, TrainingError
from hubbleclip.training import checkpoints
from hubbleclip.training.loop import train
from hubbleclip.training.runs import settings_digest
from hubbleclip.training.tracking import read_metrics
from hubbleclip.training.trainer import Trainer


@pytest.fixture(scope="module")
def run_dir(dataset_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(dataset_dir, tmp_path_factory.mktemp("runs"), MODEL, TRAIN, code_version="test")


def rows_without_times(run_dir: Path) -> list[dict[str, float]]:
    return [{k: v for k, v in row.items() if not k.endswith("_s")} for row in read_metrics(run_dir)]


class KilledError(Exception):
    pass


@pytest.mark.parametrize("killed_at", [1, 3, 5])
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


@pytest.mark.parametrize("names", [{"name": "x", "pretrained": "{}/weights.pth"}, {"name": "local-dir:{}"}])
def test_other_weights_in_the_same_file_make_another_run_and_notes_beside_them_do_not(names, tmp_path) -> None:
    digests = set()
    for content in (b"one", b"two"):
        (tmp_path / "weights.pth").write_bytes(content)
        model = ModelSettings(**{key: value.format(tmp_path) for key, value in names.items()})
        digests.add(settings_digest(model, TRAIN))
    assert len(digests) == 2
    (tmp_path / "notes.txt").write_text("good")
    assert settings_digest(model, TRAIN) in digests


def test_rows_have_the_metrics_that_a_reader_needs(run_dir) -> None:
    rows = read_metrics(run_dir)
    assert [row["step"] for row in rows] == list(range(1, 7))
    needed = "loss multi_positive_loss learning_rate logit_scale grad_norm samples_seen samples_per_s loader_s"
    assert all({*needed.split()} <= row.keys() for row in rows)
    assert [row["step"] for row in rows if "val_accuracy_10" in row] == [2, 4, 6]
    assert list((run_dir / "tensorboard").iterdir())


def test_nothing_is_left_behind_when_a_training_cannot_start(dataset_dir, tmp_path) -> None:
    with pytest.raises(TrainingError):
        train(dataset_dir, tmp_path / "runs", ModelSettings(name="nothing", pretrained=""), TRAIN, code_version="test")
    with pytest.raises(TrainingError):
        train(dataset_dir, tmp_path / "runs", MODEL, TRAIN.model_copy(update={"loss": "nothing"}), code_version="test")
    with pytest.raises(DatasetError, match="1 proposal group"):
        train(make_dataset(tmp_path / "few", num_groups=1), tmp_path / "runs", MODEL, TRAIN, code_version="test")
    assert not (tmp_path / "runs").exists()


def test_a_checkpoint_is_written_after_the_metrics_of_its_step(dataset_dir, tmp_path, monkeypatch) -> None:
    every = TRAIN.model_copy(update={"steps": 4, "log_every": 1, "validate_every": 2, "checkpoint_every": 1})
    save, steps = Trainer.save, []

    def killed_after(trainer: Trainer) -> None:
        save(trainer)
        steps.append((trainer.step, [row["step"] for row in read_metrics(trainer.run_dir)]))

    monkeypatch.setattr(Trainer, "save", killed_after)
    train(dataset_dir, tmp_path, MODEL, every, code_version="test")
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
