import math

import open_clip
import pytest
import torch
import torch.nn.functional as F
from open_clip.loss import DistillClipLoss, SigLipLoss
from opened_trainers import opened, trained
from squares_dataset import MODEL, TRAIN

from hubbleclip.config.settings import ModelSettings
from hubbleclip.core.errors import TrainingError
from hubbleclip.training.distillation import Features, feature_distance, logit_divergence, make_distillation
from hubbleclip.training.losses import (
    LOSSES,
    Pairs,
    info_nce,
    info_nce_masked,
    multi_positive,
    siglip,
    siglip_masked,
)
from hubbleclip.training.models.builder import load_model
from hubbleclip.training.tracking import read_metrics

SCALE, BIAS = torch.tensor(14.0), torch.tensor(-7.0)


def features(num: int = 6, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    draws = torch.randn(2, num, 16, generator=torch.Generator().manual_seed(seed))
    image, text = F.normalize(draws, dim=-1)
    return image, text


@pytest.mark.parametrize("compute", [info_nce, info_nce_masked, multi_positive, siglip, siglip_masked])
def test_losses_equal_those_of_open_clip_when_each_row_is_its_own_group(compute) -> None:
    image, text = features()
    theirs, bias = (SigLipLoss(), [BIAS]) if compute in (siglip, siglip_masked) else (open_clip.ClipLoss(), [])
    (ours,) = compute(Pairs.of_features(image, text, SCALE, *(bias or [None]), torch.arange(6))).values()
    assert ours.item() == pytest.approx(theirs(image, text, SCALE, *bias).item(), abs=1e-6)


def naive_multi_positive(image, text, scale, groups) -> float:
    total = 0.0
    for rows, columns in ((image, text), (text, image)):
        for i in range(len(rows)):
            logits = [float(scale * rows[i] @ columns[j]) for j in range(len(rows))]
            log_sum = math.log(sum(math.exp(logit) for logit in logits))
            positives = [j for j in range(len(rows)) if (groups[j] == groups[i]).any()]
            total -= sum(logits[j] - log_sum for j in positives) / len(positives)
    return total / (2 * len(image))


@pytest.mark.parametrize("groups", [[4, 1, 4, 2, 4, 1], [[0, 0], [0, 1], [1, 1], [2, 3], [2, 1], [4, 4]]])
def test_multi_positive_equals_the_naive_loop(groups) -> None:
    image, text = features()
    groups = torch.tensor(groups)
    (ours,) = multi_positive(Pairs.of_features(image, text, SCALE, None, groups)).values()
    assert ours.item() == pytest.approx(naive_multi_positive(image, text, SCALE, groups), abs=1e-5)


@pytest.mark.parametrize("compute", [info_nce, siglip])
def test_plain_losses_equal_open_clip_whatever_the_groups(compute) -> None:
    image, text = features()
    one_group, apart = (
        compute(Pairs.of_features(image, text, SCALE, BIAS, groups)) for groups in (torch.zeros(6), torch.arange(6))
    )
    assert one_group == apart


MIXED_GROUPS = torch.tensor([[4, 4], [1, 2], [4, 4], [2, 2], [5, 4], [6, 6]])


def test_masked_siglip_is_the_sum_over_the_pairs_that_remain_divided_by_the_rows() -> None:
    image, text = features()
    pairs = Pairs.of_features(image, text, SCALE, BIAS, MIXED_GROUPS)
    (loss,), logits_bb = siglip_masked(pairs).values(), pairs.logits_rb[0]
    total = 0.0
    for i in range(6):
        for j in range(6):
            if i == j or not set(MIXED_GROUPS[i].tolist()) & set(MIXED_GROUPS[j].tolist()):
                total += math.log(1 + math.exp(-(1 if i == j else -1) * logits_bb[i, j].item()))
    assert loss.item() == pytest.approx(total / 6, rel=1e-5)


def test_masked_info_nce_leaves_other_rows_of_the_group_out_of_both_softmaxes() -> None:
    image, text = features()
    pairs = Pairs.of_features(image, text, SCALE, None, MIXED_GROUPS)
    (loss,), logits_bb = info_nce_masked(pairs).values(), pairs.logits_rb[0]
    total = 0.0
    for i in range(6):
        kept = [j for j in range(6) if i == j or not set(MIXED_GROUPS[i].tolist()) & set(MIXED_GROUPS[j].tolist())]
        for logits_b in (logits_bb[i], logits_bb[:, i]):
            total += math.log(sum(math.exp(logits_b[j].item()) for j in kept)) - logits_b[i].item()
    assert loss.item() == pytest.approx(total / 12, rel=1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_the_mean_loss_of_the_rows_of_two_processes_is_that_of_the_whole_batch(name) -> None:
    image, text = features()
    whole, *parts = (
        sum(LOSSES[name].compute(Pairs.of_features(image, text, SCALE, BIAS, MIXED_GROUPS, row_r=rows)).values())
        for rows in (None, torch.arange(0, 6, 2), torch.arange(1, 6, 2))
    )
    assert sum(parts).item() / 2 == pytest.approx(whole.item(), rel=1e-5)


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
    drift, changes = {}, {"distillation": distillation, "steps": 4, "validate_every": 9, "checkpoint_every": 9}
    for weight in (1e-3, 1e3):
        run = trained(dataset_dir, tmp_path, base, distillation_weight=weight, **changes)
        rows = read_metrics(run)
        distances = [row["distillation_loss"] / weight for row in rows]
        assert distances[0] == pytest.approx(0, abs=1e-6)
        drift[weight] = distances[-1]
    assert 0 < drift[1e3] < drift[1e-3]


def test_micro_batches_with_distillation_give_the_gradients_of_the_whole(dataset_dir, base) -> None:
    gradients = []
    for micro_batch in (0, 2):
        changes = {"distillation_weight": 5.0, "micro_batch": micro_batch}
        distillation = make_distillation(TRAIN.model_copy(update=changes), lambda: load_model(base, 1))
        trainer, batches = opened(dataset_dir, base, base=distillation, **changes)
        projection = trainer.loaded.model.visual.proj
        with torch.no_grad():  # away from the base, where the distance has a gradient
            projection.mul_(-0.5).add_(0.1)
        trainer._backward(batches[0])
        gradients.append(projection.grad)
    assert torch.allclose(*gradients, atol=1e-5)
    assert gradients[0].abs().max() > 1e-2


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
