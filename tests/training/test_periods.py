"""When a training validates, logs, saves, stops early and resumes, and the metrics of its steps."""

import itertools
import json
import math
import shutil
from types import SimpleNamespace

import pytest
import torch
from opened_trainers import opened
from squares_dataset import MODEL, TRAIN, make_dataset

from hubbleclip.training import checkpoints
from hubbleclip.training.loop import train
from hubbleclip.training.optimizer import learning_rate
from hubbleclip.training.runs import read_run
from hubbleclip.training.tracking import read_metrics


@pytest.mark.parametrize(("patience", "done_at"), [(3, 25), (1, 15), (0, 40)])
def test_training_stops_after_as_many_validations_without_improvement_as_its_patience(
    dataset_dir, patience: int, done_at: int
) -> None:
    trainer, _ = opened(dataset_dir, steps=40, validate_every=5, patience=patience)
    trainer.best_step = 10
    done = []
    for trainer.step in range(10, 41):
        done.append(trainer.is_done)
    assert done.index(True) + 10 == done_at


def test_rows_and_checkpoints_are_written_in_their_own_periods_and_whenever_val_improves(dataset_dir, tmp_path) -> None:
    periods = {"steps": 7, "log_every": 4, "validate_every": 3, "checkpoint_every": 5}
    seen = []
    run = train(
        dataset_dir,
        tmp_path,
        MODEL,
        TRAIN.model_copy(update=periods),
        code_version="test",
        on_progress=lambda step, row: seen.append({"step": step, **row}),
    )
    rows = read_metrics(run)
    assert rows == seen
    assert [row["step"] for row in rows] == [3, 4, 5, 6, 7]
    assert [row["step"] for row in rows if "val_loss" in row] == [3, 6, 7]
    assert [row["samples_seen"] for row in rows] == [4 * row["step"] for row in rows]
    improved, best = set(), -1.0
    for row in rows:
        if row.get("val_accuracy_10", -1.0) > best:
            improved.add(row["step"])
            best = row["val_accuracy_10"]
    written = sorted(improved | {5, 7})
    assert checkpoints.list_steps(run) == sorted({*written[-2:], max(improved)})
    assert read_run(run).run.best_step == max(improved)
    assert read_run(run).run.samples_seen == 28


def test_the_metrics_of_a_step_are_its_rate_the_scale_before_it_and_the_norm_before_clipping(dataset_dir) -> None:
    trainer, batches = opened(dataset_dir, grad_clip=1e-2, learning_rate=0.1, warmup_steps=3)
    for step in range(2):
        scale = trainer.loaded.model.logit_scale.exp().item()
        metrics = trainer.train_step(batches[step])
        assert metrics["logit_scale"] == pytest.approx(scale)
        assert metrics["learning_rate"] == learning_rate(step, trainer.settings) == pytest.approx(0.1 * (step + 1) / 3)
        assert {group["lr"] for group in trainer.optimizer.param_groups} == {metrics["learning_rate"]}
        norm = math.sqrt(sum(one.grad.square().sum().item() for one in trainer.loaded.model.parameters()))
        assert metrics["grad_norm"] > 1e-2 == pytest.approx(norm, rel=1e-3)
        assert metrics["loss"] == metrics["multi_positive_loss"]
        assert metrics["samples_seen"] == (step + 1) * 4
    assert trainer.loaded.model.logit_scale.exp().item() != pytest.approx(scale)


@pytest.mark.parametrize(("precision", "expected"), [("bf16", torch.bfloat16), ("fp32", torch.float32)])
def test_matrix_products_of_training_have_the_precision_of_the_setting(dataset_dir, precision, expected) -> None:
    trainer, batches = opened(dataset_dir, precision=precision)
    types = set()
    for block in (trainer.loaded.model.visual.transformer.resblocks[0], trainer.loaded.model.transformer.resblocks[0]):
        block.mlp.c_fc.register_forward_hook(lambda _module, _inputs, output: types.add(output.dtype))
    trainer.train_step(batches[0])
    assert types == {expected}
    assert {weight.dtype for weight in trainer.loaded.model.parameters()} == {torch.float32}


def test_test_never_ranks_the_checkpoints_where_there_is_no_val(tmp_path) -> None:
    dataset = make_dataset(tmp_path / "datasets", without=("val",))
    settings = TRAIN.model_copy(update={"steps": 2})
    run = train(dataset, tmp_path / "runs", MODEL, settings, code_version="test")
    assert json.loads((run / "best.json").read_text()) == {"step": 2, "score": None}


def test_a_resumed_run_records_the_best_checkpoint_again_and_deletes_old_ones(dataset_dir, tmp_path) -> None:
    """A process may be killed between the checkpoint and what follows it."""
    trainer, resumed = (opened(dataset_dir, run_dir=tmp_path)[0] for _ in range(2))
    for trainer.step in (2, 6, 8):
        trainer.best_step, trainer.best_score = 2, 0.5
        trainer.save()
    folder = tmp_path / "checkpoints"
    shutil.copyfile(folder / "step-00000006.pt", folder / "step-00000004.pt")
    (tmp_path / checkpoints.BEST).unlink()
    resumed.restore()
    assert (resumed.step, checkpoints.list_steps(tmp_path)) == (8, [2, 6, 8])
    assert json.loads((tmp_path / checkpoints.BEST).read_text()) == {"step": 2, "score": 0.5}


def test_times_of_a_row_are_those_of_its_steps_without_validation(dataset_dir, tmp_path, monkeypatch) -> None:
    clock = itertools.count(0, 2)  # a batch takes two seconds, and a step two more
    monkeypatch.setattr("hubbleclip.training.trainer.Trainer.validate_if_due", lambda _: dict.fromkeys([], next(clock)))
    monkeypatch.setattr("hubbleclip.training.loop.time", SimpleNamespace(perf_counter=lambda: next(clock)))
    settings = TRAIN.model_copy(update={"steps": 5, "log_every": 2, "validate_every": 9, "checkpoint_every": 9})
    rows = read_metrics(train(dataset_dir, tmp_path, MODEL, settings, code_version="test"))
    assert [(row["step"], row["samples_per_s"], row["loader_s"]) for row in rows] == [(n, 1.0, 2.0) for n in (2, 4, 5)]


def test_the_losses_of_a_row_are_means_since_the_row_before(dataset_dir, tmp_path) -> None:
    rows = {}
    for every in (1, 2):
        settings = TRAIN.model_copy(update={"steps": 5, "log_every": every, "validate_every": 9, "checkpoint_every": 9})
        rows[every] = read_metrics(train(dataset_dir, tmp_path, MODEL, settings, code_version="test"))
    losses = [row["loss"] for row in rows[1]]
    means = [(losses[0] + losses[1]) / 2, (losses[2] + losses[3]) / 2, losses[4]]
    assert [row["loss"] for row in rows[2]] == pytest.approx(means, rel=1e-6)
    assert [row["step"] for row in rows[2]] == [2, 4, 5]
