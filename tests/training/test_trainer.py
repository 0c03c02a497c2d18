"""Training steps: micro-batches, averages, interpolation, rejected settings; when one validates, saves, stops, resumes."""

import itertools
import json
import math
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from opened_trainers import opened, trained
from squares_dataset import MODEL, TRAIN, make_dataset

from hubbleclip.config.settings import ModelSettings
from hubbleclip.core.errors import TrainingError
from hubbleclip.core.io import locked
from hubbleclip.dataset.manifest import read_dataset
from hubbleclip.training import checkpoints
from hubbleclip.training.checkpoints import load_run_model
from hubbleclip.training.loop import _initial_model, interpolate, train
from hubbleclip.training.losses import get_loss
from hubbleclip.training.models.builder import load_model
from hubbleclip.training.optimizer import learning_rate
from hubbleclip.training.runs import open_run, read_run
from hubbleclip.training.tracking import read_metrics


def gradients(dataset_dir: Path, **changes) -> dict[str, torch.Tensor]:
    trainer, batches = opened(dataset_dir, **changes)
    trainer._backward(batches[0])
    return {name: p.grad for name, p in trainer.loaded.model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(("loss", "rows"), [("multi_positive", 3), ("siglip_masked", 1)])
def test_micro_batches_give_the_gradients_of_the_whole(dataset_dir, loss, rows) -> None:
    whole = gradients(dataset_dir, loss=loss)
    pieces = gradients(dataset_dir, loss=loss, micro_batch=rows)
    assert whole.keys() == pieces.keys()
    assert all(torch.allclose(whole[name], pieces[name], atol=1e-5) for name in whole)
    assert max(gradient.abs().max() for gradient in whole.values()) > 1e-3


def test_micro_batches_work_with_a_frozen_tower_that_has_no_projection(dataset_dir) -> None:
    trainer, batches = opened(dataset_dir, mode="locked_image", micro_batch=2)
    trainer.loaded.model.visual.requires_grad_(requires_grad=False)  # as an image tower of SigLIP
    before = trainer.loaded.model.text_projection.detach().clone()
    trainer.train_step(batches[0])
    assert not torch.equal(trainer.loaded.model.text_projection, before)


def test_a_step_has_the_loss_and_its_setting(dataset_dir) -> None:
    for changes, expected in (
        ({}, ("multi_positive", False)),
        ({"loss": "siglip", "local_loss": True}, ("siglip", True)),
    ):
        found = opened(dataset_dir, **changes)[0].gradients
        assert (found.loss, found.is_local) == (get_loss(expected[0]), expected[1])


def test_micro_batches_are_rejected_where_batch_norms_would_see_them(dataset_dir) -> None:
    with pytest.raises(TrainingError, match=r"train\.micro_batch"):
        opened(dataset_dir, ModelSettings(name="hubbleclip-tiny", pretrained=""), micro_batch=2)


def test_the_moving_average_is_validated_and_saved(dataset_dir) -> None:
    trainer, batches = opened(dataset_dir, ema=0.2)
    expected = None
    for step in range(3):
        trainer.train_step(batches[step])
        now = trainer.loaded.model.visual.proj.detach()
        decay = min(0.2, (1 + step) / (10 + step))
        expected = now.clone() if expected is None else decay * expected + (1 - decay) * now
    assert torch.allclose(trainer.evaluation_model.model.visual.proj, expected, atol=1e-6)
    assert not torch.allclose(now, expected, atol=1e-6)


def test_the_moving_average_is_of_the_limited_scale(dataset_dir) -> None:
    trainer, batches = opened(dataset_dir, ema=0.2)
    for step in range(2):
        with torch.no_grad():
            trainer.loaded.model.logit_scale.fill_(9.0)
        trainer.train_step(batches[step])
    assert trainer.evaluation_model.model.logit_scale.exp().item() == pytest.approx(100)


def test_a_val_of_one_group_does_not_stop_training_and_the_last_checkpoint_counts(tmp_path, caplog) -> None:
    dataset = make_dataset(tmp_path / "datasets", num_groups=5)
    run = trained(dataset, tmp_path / "runs", patience=1, validate_every=1, wise_alphas=(0.0,))
    best = json.loads((run / "best.json").read_text())
    assert (best["step"], best["score"]) == (TRAIN.steps, None)
    assert "fewer than two groups" in caplog.text


@pytest.mark.parametrize(("of_mixtures", "alpha"), [((0.2, 0.2, 0.1), 0.0), ((0.2, 0.6, 0.5), 0.5)])
def test_the_run_holds_the_interpolation_that_is_best_on_val(
    dataset_dir, tmp_path, monkeypatch, of_mixtures, alpha
) -> None:
    scores, validated = iter([0.9, 0.4, *of_mixtures]), []  # the checkpoint of step 2 is better than that of step 4

    def validate(loaded, *_: object) -> dict[str, float]:
        validated.append({name: weight.clone() for name, weight in loaded.model.state_dict().items()})
        return {"val_accuracy_10": next(scores)}

    for module in ("trainer", "loop"):
        monkeypatch.setattr(f"hubbleclip.training.{module}.validate", validate)
    run = trained(dataset_dir, tmp_path, wise_alphas=(1.0, 0.0, 0.5), learning_rate=3e-3, steps=4)
    best = checkpoints.read_best(run)
    by_alpha = dict(zip(("0.0", "0.5", "1.0"), of_mixtures, strict=True))
    assert (best["step"], best["score"], best["alpha"], best["alpha_scores"]) == (2, max(of_mixtures), alpha, by_alpha)
    start, kept = _initial_model(MODEL, TRAIN).model.state_dict(), load_run_model(run).model.state_dict()
    for share, weights in zip((0.0, 0.5, 1.0, alpha), (*validated[2:], kept), strict=True):
        expected = interpolate(start, checkpoints.read_checkpoint(run, 2)["state_dict"], share)
        assert all(torch.equal(weights[name], weight) for name, weight in expected.items())


def test_a_mixture_of_low_rank_updates_is_that_of_the_merged_weights() -> None:
    lora = TRAIN.model_copy(update={"mode": "lora"})
    initial, changed = (_initial_model(MODEL, lora).model for _ in range(2))
    with torch.no_grad():
        for number, weight in enumerate(changed.parameters()):
            weight.add_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(number)))
    name = "visual.transformer.resblocks.0.mlp.c_fc.weight"
    one, two = (model.get_submodule(name.removesuffix(".weight")).weight.detach() for model in (initial, changed))
    mixed = _initial_model(MODEL, lora).model
    mixed.load_state_dict(interpolate(initial.state_dict(), changed.state_dict(), 0.5))
    assert torch.allclose(mixed.get_submodule(name.removesuffix(".weight")).weight, (one + two) / 2, atol=1e-5)


def test_two_trainings_of_the_same_settings_do_not_share_a_run(dataset_dir, tmp_path) -> None:
    names = {"code_version": "test", "device": "cpu"}
    with open_run(tmp_path, read_dataset(dataset_dir).digest, MODEL, TRAIN, **names) as run_dir:
        with pytest.raises(TrainingError, match=f"another process trains the run {run_dir.name}"):
            trained(dataset_dir, tmp_path)
        with locked(tmp_path, wait=False):
            pass
    assert trained(dataset_dir, tmp_path) == run_dir


@pytest.mark.slow
def test_a_compiled_model_keeps_the_names_of_its_weights(dataset_dir) -> None:
    compiled, _ = opened(dataset_dir, compile=True)
    assert compiled.gradients.wrapped is not compiled.loaded.model
    assert compiled.evaluation_model.model.state_dict().keys() == load_model(MODEL, 1).model.state_dict().keys()


def test_a_resumed_run_continues_its_moving_average(dataset_dir, tmp_path) -> None:
    trainer, batches = opened(dataset_dir, run_dir=tmp_path, ema=0.9)
    for step in range(2):
        trainer.train_step(batches[step])
    trainer.save()
    resumed, _ = opened(dataset_dir, run_dir=tmp_path, ema=0.9)
    resumed.restore()
    averages = [one.train_step(batches[2]) and one.evaluation_model.model.state_dict() for one in (trainer, resumed)]
    assert all(torch.equal(weight, averages[1][name]) for name, weight in averages[0].items())


@pytest.mark.parametrize("wrong", [math.inf, math.nan])
def test_a_gradient_that_is_not_finite_is_an_error_before_any_weight_changes(dataset_dir, wrong) -> None:
    trainer, batches = opened(dataset_dir)
    before = {name: weight.clone() for name, weight in trainer.loaded.model.state_dict().items()}
    trainer.loaded.model.visual.proj.register_hook(lambda grad: grad * wrong)
    with pytest.raises(TrainingError, match="at step 1 .*gradient norm"):
        trainer.train_step(batches[0])
    assert all(torch.equal(weight, before[name]) for name, weight in trainer.loaded.model.state_dict().items())
    with pytest.raises(TrainingError, match="loss nan"):
        trainer._check_finite(math.nan, 1.0)
    assert trainer.step == 0


def test_the_first_of_several_scores_of_zero_is_the_best(dataset_dir, monkeypatch) -> None:
    trainer, _ = opened(dataset_dir)
    monkeypatch.setattr("hubbleclip.training.trainer.validate", lambda *_: {"val_accuracy_10": 0.0})
    for trainer.step in (2, 4):
        assert trainer.validate_if_due() == {"val_accuracy_10": 0.0}
    assert (trainer.best_step, trainer.best_score) == (2, 0.0)


def test_weights_of_the_average_and_buffers_are_checked_before_they_are_validated_or_saved(
    dataset_dir, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr("hubbleclip.training.trainer.validate", lambda *_: {"val_accuracy_10": 1.0})
    averaged, buffered = (opened(dataset_dir, run_dir=tmp_path, ema=ema)[0] for ema in (0.5, TRAIN.ema))
    with torch.no_grad():
        averaged.average.module.visual.proj[0, 0] = torch.nan
    buffered.loaded.model.register_buffer("statistics", torch.tensor([1.0, torch.inf]))
    for trainer, name in ((averaged, "visual.proj"), (buffered, "statistics")):
        for act in (trainer.validate_if_due, trainer.save):
            with pytest.raises(TrainingError, match=f"{name} are not finite at step 0"):
                act()
        assert trainer.best_score is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_run_that_continues_another_equals_one_of_so_many_steps(dataset_dir, tmp_path) -> None:
    constant = {"lr_scheduler": "const", "ema": 0.5}
    whole, short = (trained(dataset_dir, tmp_path / f"{steps}", steps=steps, **constant) for steps in (8, 4))
    run_dir = trained(dataset_dir, short.parent, steps=8, resume=short.name, **constant)
    assert run_dir not in (whole, short)
    rows = [[(one["step"], one["loss"], one.get("val_loss")) for one in read_metrics(run)] for run in (whole, run_dir)]
    assert rows[0] == rows[1]
    states = [checkpoints.read_checkpoint(run, 8)["trained"] for run in (whole, run_dir)]
    assert all(torch.equal(weight, states[1][name]) for name, weight in states[0].items())
    assert checkpoints.read_best(run_dir) == checkpoints.read_best(whole)


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
    seen = []
    settings = TRAIN.model_copy(update={"steps": 7, "log_every": 4, "validate_every": 3, "checkpoint_every": 5})
    progress = {"on_progress": lambda step, row: seen.append({"step": step, **row})}
    run = train(dataset_dir, tmp_path, MODEL, settings, code_version="test", **progress)
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
    run = trained(dataset, tmp_path / "runs", steps=2)
    assert json.loads((run / "best.json").read_text()) == {"step": 2, "score": None}


def test_a_resumed_run_records_the_best_checkpoint_again_and_deletes_old_ones(dataset_dir, tmp_path) -> None:
    """A process may be killed between the checkpoint and what follows it."""
    trainer, resumed = (opened(dataset_dir, run_dir=tmp_path)[0] for _ in range(2))
    for trainer.step in (2, 6, 8):
        trainer.best_step, trainer.best_score = 2, 0.5
        trainer.save()
    folder = tmp_path / "checkpoints"
    shutil.copyfile(folder / "step-00000006.pt", folder / "step-00000004.pt")
    checkpoints.write_best(tmp_path, 6, 0.4)
    resumed.has_informative_val = False  # a resume keeps the best step of any val
    resumed.restore()
    assert (resumed.step, checkpoints.list_steps(tmp_path)) == (8, [2, 6, 8])
    assert json.loads((tmp_path / checkpoints.BEST).read_text()) == {"step": 2, "score": 0.5}


def test_times_of_a_row_are_those_of_its_steps_without_validation(dataset_dir, tmp_path, monkeypatch) -> None:
    clock = itertools.count(0, 2)  # a batch takes two seconds, and a step two more
    monkeypatch.setattr("hubbleclip.training.trainer.Trainer.validate_if_due", lambda _: dict.fromkeys([], next(clock)))
    monkeypatch.setattr("hubbleclip.training.loop.time", SimpleNamespace(perf_counter=lambda: next(clock)))
    rows = read_metrics(trained(dataset_dir, tmp_path, steps=5, log_every=2, validate_every=9, checkpoint_every=9))
    assert [(row["step"], row["samples_per_s"], row["loader_s"]) for row in rows] == [(n, 1.0, 2.0) for n in (2, 4, 5)]


def test_the_losses_of_a_row_are_means_since_the_row_before(dataset_dir, tmp_path) -> None:
    periods = {"steps": 5, "validate_every": 9, "checkpoint_every": 9}
    rows = {every: read_metrics(trained(dataset_dir, tmp_path, log_every=every, **periods)) for every in (1, 2)}
    losses = [row["loss"] for row in rows[1]]
    means = [(losses[0] + losses[1]) / 2, (losses[2] + losses[3]) / 2, losses[4]]
    assert [row["loss"] for row in rows[2]] == pytest.approx(means, rel=1e-6)
    assert [row["step"] for row in rows[2]] == [2, 4, 5]
