import math

import open_clip
import pytest
import torch
import torch.nn.functional as F
from open_clip.loss import SigLipLoss

from hubbleclip.core.errors import TrainingError
from hubbleclip.training.losses import (
    LOSSES,
    Pairs,
    get_loss,
    info_nce,
    info_nce_masked,
    multi_positive,
    siglip,
    siglip_masked,
)

SCALE, BIAS = torch.tensor(14.0), torch.tensor(-7.0)


def features(num: int = 6, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    draws = torch.randn(2, num, 16, generator=torch.Generator().manual_seed(seed))
    image, text = F.normalize(draws, dim=-1)
    return image, text


@pytest.mark.parametrize("compute", [info_nce, info_nce_masked, multi_positive])
def test_softmax_losses_equal_open_clip_when_each_row_is_its_own_group(compute) -> None:
    image, text = features()
    (ours,) = compute(Pairs.of_features(image, text, SCALE, None, torch.arange(6))).values()
    theirs = open_clip.ClipLoss()(image, text, SCALE)
    assert ours.item() == pytest.approx(theirs.item(), abs=1e-6)


@pytest.mark.parametrize("compute", [siglip, siglip_masked])
def test_siglip_equals_open_clip_when_each_row_is_its_own_group(compute) -> None:
    image, text = features()
    (ours,) = compute(Pairs.of_features(image, text, SCALE, BIAS, torch.arange(6))).values()
    theirs = SigLipLoss()(image, text, SCALE, BIAS)
    assert ours.item() == pytest.approx(theirs.item(), abs=1e-6)


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


def test_siglip_starts_with_one_expected_positive_per_row() -> None:
    for name in ("siglip", "siglip_masked"):
        scale, bias = LOSSES[name].initial_scale_and_bias(32)
        assert (scale, bias) == (10, pytest.approx(math.log(1 / 31)))
        assert 32 * torch.tensor(bias).sigmoid().item() == pytest.approx(1)


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_entries_are_named_as_losses_and_finite_in_a_batch_of_one_group(name: str) -> None:
    image, text = features()
    entries = LOSSES[name].compute(Pairs.of_features(image, text, SCALE, BIAS, torch.zeros(6, dtype=torch.long)))
    assert all(key.endswith("_loss") and torch.isfinite(value) for key, value in entries.items())


def test_unknown_loss_names_the_setting() -> None:
    with pytest.raises(TrainingError, match=r"train\.loss.*info_nce.*multi_positive.*siglip"):
        get_loss("triplet")


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
