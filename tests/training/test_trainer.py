"""Training steps: micro-batches, moving averages, early stopping, interpolation, locks and rejected settings."""

import json
import math
from pathlib import Path

import pytest
import torch
from opened_trainers import opened
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
from hubbleclip.training.runs import open_run
from hubbleclip.training.tracking import read_metrics


def gradients(dataset_dir: Path, **changes) -> dict[str, torch.Tensor]:
    trainer, batches = opened(dataset_dir, **changes)
    trainer._backward(batches[0])
    return {name: p.grad for name, p in trainer.loaded.model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("loss", ["multi_positive", "siglip_masked"])
@pytest.mark.parametrize("rows", [1, 3])
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
    patient = TRAIN.model_copy(update={"patience": 1, "validate_every": 1, "wise_alphas": (0.0,)})
    run = train(dataset, tmp_path / "runs", MODEL, patient, code_version="test")
    best = json.loads((run / "best.json").read_text())
    assert (best["step"], best["score"]) == (TRAIN.steps, None)
    assert "fewer than two groups" in caplog.text


@pytest.mark.parametrize(("rate", "expected"), [(1e-12, 0.0), (3e-3, None)])
def test_the_run_holds_the_interpolation_that_is_best_on_val(dataset_dir, tmp_path, rate, expected) -> None:
    settings = TRAIN.model_copy(update={"wise_alphas": (1.0, 0.0, 0.5), "learning_rate": rate, "steps": 4})
    run = train(dataset_dir, tmp_path, MODEL, settings, code_version="test")
    best = json.loads((run / "best.json").read_text())
    scores = {float(alpha): score for alpha, score in best["alpha_scores"].items()}
    assert set(scores) == {0.0, 0.5, 1.0} and best["score"] == max(scores.values())
    assert best["alpha"] == min(alpha for alpha, score in scores.items() if score == max(scores.values()))
    assert expected is None or best["alpha"] == expected
    start = _initial_model(MODEL, settings).model.state_dict()
    trained = checkpoints.read_checkpoint(run, best["step"])["state_dict"]
    kept = load_run_model(run).model.state_dict()
    assert all(torch.equal(kept[name], weight) for name, weight in interpolate(start, trained, best["alpha"]).items())


def test_a_mixture_of_low_rank_updates_is_that_of_the_merged_weights() -> None:
    lora = TRAIN.model_copy(update={"mode": "lora"})
    initial, trained = (_initial_model(MODEL, lora).model for _ in range(2))
    with torch.no_grad():
        for number, weight in enumerate(trained.parameters()):
            weight.add_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(number)))
    name = "visual.transformer.resblocks.0.mlp.c_fc.weight"
    one, two = (model.get_submodule(name.removesuffix(".weight")).weight.detach() for model in (initial, trained))
    mixed = _initial_model(MODEL, lora).model
    mixed.load_state_dict(interpolate(initial.state_dict(), trained.state_dict(), 0.5))
    assert torch.allclose(mixed.get_submodule(name.removesuffix(".weight")).weight, (one + two) / 2, atol=1e-5)


def test_two_trainings_of_the_same_settings_do_not_share_a_run(dataset_dir, tmp_path) -> None:
    names = {"code_version": "test", "device": "cpu"}
    with open_run(tmp_path, read_dataset(dataset_dir).digest, MODEL, TRAIN, **names) as run_dir:
        with pytest.raises(TrainingError, match=f"another process trains the run {run_dir.name}"):
            train(dataset_dir, tmp_path, MODEL, TRAIN, code_version="test")
        with locked(tmp_path, wait=False):
            pass
    assert train(dataset_dir, tmp_path, MODEL, TRAIN, code_version="test") == run_dir


@pytest.mark.slow
def test_a_compiled_model_keeps_the_names_of_its_weights(dataset_dir) -> None:
    compiled, _ = opened(dataset_dir, compile=True)
    assert compiled.gradients.wrapped is not compiled.loaded.model
    assert compiled.evaluation_model.model.state_dict().keys() == load_model(MODEL, 1).model.state_dict().keys()


def test_a_resumed_run_continues_its_moving_average(dataset_dir, tmp_path) -> None:
    (tmp_path / "checkpoints").mkdir()
    trainer, batches = opened(dataset_dir, ema=0.9)
    trainer.run_dir = tmp_path
    for step in range(2):
        trainer.train_step(batches[step])
    trainer.save()
    resumed, _ = opened(dataset_dir, ema=0.9)
    resumed.run_dir = tmp_path
    resumed.restore()
    averages = [one.train_step(batches[2]) and one.evaluation_model.model.state_dict() for one in (trainer, resumed)]
    assert all(torch.equal(weight, averages[1][name]) for name, weight in averages[0].items())


def test_a_resumed_run_knows_how_good_its_best_step_was(dataset_dir, tmp_path) -> None:
    (tmp_path / "checkpoints").mkdir()
    trainer, resumed = (opened(dataset_dir)[0] for _ in range(2))
    trainer.run_dir = resumed.run_dir = tmp_path
    trainer.step, trainer.best_step, trainer.best_score = 3, 2, 0.75
    trainer.save()
    resumed.restore()
    assert (resumed.step, resumed.best_step, resumed.best_score) == (3, 2, 0.75)


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
    averaged, buffered = opened(dataset_dir, ema=0.5)[0], opened(dataset_dir)[0]
    averaged.run_dir = buffered.run_dir = tmp_path
    with torch.no_grad():
        averaged.average.module.visual.proj[0, 0] = torch.nan
    buffered.loaded.model.register_buffer("statistics", torch.tensor([1.0, torch.inf]))
    for trainer, name in ((averaged, "visual.proj"), (buffered, "statistics")):
        for act in (trainer.validate_if_due, trainer.save):
            with pytest.raises(TrainingError, match=f"{name} are not finite"):
                act()
        assert trainer.best_score is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_run_that_continues_another_equals_one_of_so_many_steps(dataset_dir, tmp_path) -> None:
    constant = TRAIN.model_copy(update={"lr_scheduler": "const", "steps": 8, "ema": 0.5})
    whole = train(dataset_dir, tmp_path / "whole", MODEL, constant, code_version="test")
    short = train(dataset_dir, tmp_path, MODEL, constant.model_copy(update={"steps": 4}), code_version="test")
    more = constant.model_copy(update={"resume": short.name})
    run_dir = train(dataset_dir, tmp_path, MODEL, more, code_version="test")
    assert run_dir not in (whole, short)
    rows = [[(one["step"], one["loss"], one.get("val_loss")) for one in read_metrics(run)] for run in (whole, run_dir)]
    assert rows[0] == rows[1]
    states = [checkpoints.read_checkpoint(run, 8)["trained"] for run in (whole, run_dir)]
    assert all(torch.equal(weight, states[1][name]) for name, weight in states[0].items())
    assert checkpoints.read_best(run_dir) == checkpoints.read_best(whole)
