"""Distillation from the base: each distance against its equation and against open_clip, and in training."""

import pytest
import torch
import torch.nn.functional as F
from open_clip.loss import DistillClipLoss
from squares_dataset import MODEL, TRAIN

from hubbleclip.config.settings import ModelSettings
from hubbleclip.core.errors import TrainingError
from hubbleclip.training.distillation import Features, feature_distance, logit_divergence, make_distillation
from hubbleclip.training.loop import train
from hubbleclip.training.models.builder import load_model
from hubbleclip.training.tracking import read_metrics

ROWS = 5


def drawn_features(seed: int, scale: float) -> Features:
    rows = F.normalize(torch.randn(2, ROWS, 7, generator=torch.Generator().manual_seed(seed)), dim=-1)
    return rows[0].requires_grad_(), rows[1].requires_grad_(), torch.tensor(scale)


def test_the_distance_of_features_is_that_of_the_equation() -> None:
    trained, base = drawn_features(1, 10.0), drawn_features(2, 20.0)
    expected = sum(
        ((trained[tower][row] - base[tower][row]) ** 2).sum().item() for tower in (0, 1) for row in range(ROWS)
    )
    assert feature_distance(trained, base).item() == pytest.approx(expected / ROWS, rel=1e-6)


def test_the_divergence_of_logits_has_the_gradient_of_the_loss_of_open_clip() -> None:
    trained, base = drawn_features(1, 10.0), drawn_features(2, 20.0)
    ours = torch.autograd.grad(logit_divergence(trained, base), trained[:2])
    theirs = torch.autograd.grad(DistillClipLoss()(*trained, *base)[1], trained[:2])
    assert all(torch.allclose(one, other, atol=1e-6) for one, other in zip(ours, theirs, strict=True))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> ModelSettings:
    weights = tmp_path_factory.mktemp("base") / "weights.pt"
    torch.save({"state_dict": load_model(MODEL, 1).model.state_dict()}, weights)
    return MODEL.model_copy(update={"pretrained": str(weights)})


@pytest.mark.parametrize("distillation", ["features", "logits"])
def test_training_starts_at_its_base_and_a_weight_keeps_it_there(dataset_dir, base, tmp_path, distillation) -> None:
    drift = {}
    for weight in (1e-3, 1e3):
        settings = TRAIN.model_copy(update={"distillation": distillation, "distillation_weight": weight})
        rows = read_metrics(train(dataset_dir, tmp_path, base, settings, code_version="test"))
        distances = [row["distillation_loss"] / weight for row in rows]
        assert distances[0] == pytest.approx(0, abs=1e-6)
        drift[weight] = distances[-1]
    assert 0 < drift[1e3] < drift[1e-3]


def test_a_base_of_random_weights_is_refused() -> None:
    settings = TRAIN.model_copy(update={"distillation_weight": 1.0})
    with pytest.raises(TrainingError, match=r"model\.pretrained"):
        make_distillation(settings, lambda: load_model(MODEL, 1))


def test_the_base_has_neither_dropout_nor_new_batch_statistics(base) -> None:
    settings = TRAIN.model_copy(update={"distillation_weight": 1.0})
    loaded = load_model(base, 1)
    loaded.model.train()
    made = make_distillation(settings, lambda: loaded)
    assert not any(module.training for module in made.base.modules())
    assert not any(weight.requires_grad for weight in made.base.parameters())


@pytest.mark.parametrize(("name", "distance"), [("features", feature_distance), ("logits", logit_divergence)])
def test_the_loss_term_is_the_distance_of_the_setting_times_its_weight(base, name, distance) -> None:
    settings = TRAIN.model_copy(update={"distillation": name, "distillation_weight": 3.0})
    term = make_distillation(settings, lambda: load_model(base, 1)).term
    trained, before = drawn_features(1, 10.0), drawn_features(2, 20.0)
    assert term(trained, before).item() == pytest.approx(3 * distance(trained, before).item())
    assert distance(trained, before).item() > 0.1
    assert make_distillation(TRAIN, lambda: pytest.fail("no base is needed")) is None
