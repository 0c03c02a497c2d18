"""Trials on pairs, and their table."""

import numpy as np
import pytest

from experiments.pairs.frozen_features import Pairs
from experiments.pairs.methods import METHODS, SEEDED
from experiments.pairs.report import (
    check_repetitions,
    check_size,
    check_unrelated,
    cross_validation_trials,
    fit,
    holdout_trials,
)
from hubbleclip.config.settings import TrainSettings
from hubbleclip.core.errors import DatasetError, SettingsError
from hubbleclip.dataset.splits.continuations import Link

GROUPS = np.repeat(np.arange(10), 2)


def made_pairs() -> Pairs:
    num = len(GROUPS)
    features = np.eye(num, dtype=np.float32)
    names = tuple(f"p{row:02}" for row in range(num))
    return Pairs(
        names=names,
        captions=names,
        titles=names,
        sentences=tuple((name,) for name in names),
        group_n=GROUPS,
        views_nvd=features[:, None],
        final_width=4,
        caption_ne=features,
        title_ne=features,
        sentences_pe=tuple(features[:, None]),
    )


def test_folds_test_each_picture_once_and_share_no_group_with_the_training_part() -> None:
    trials = cross_validation_trials(made_pairs(), 5, [1])
    assert sorted(name for trial in trials for name in trial.test.names) == list(made_pairs().names)
    assert not any(set(trial.train.group_n) & set(trial.test.group_n) for trial in trials)


def test_with_two_folders_one_is_trained_on_and_the_other_tested() -> None:
    (trial,) = holdout_trials(made_pairs().take(np.arange(6)), made_pairs().take(np.arange(6, 20)), [1])
    assert (len(trial.train.names), len(trial.test.names)) == (6, 14)


def test_a_method_in_closed_form_is_trained_once_on_the_same_pictures() -> None:
    pairs = made_pairs()
    matchers = fit(holdout_trials(pairs, pairs, [1, 2, 3]), TrainSettings(steps=1, warmup_steps=0))
    assert {name: len(set(map(id, of_method))) for name, of_method in matchers.items()} == {
        name: 3 if name in SEEDED else 1 for name in METHODS
    }


@pytest.mark.parametrize(("folds", "draws", "option"), [(1, 3, "--folds"), (-2, 3, "--folds"), (5, 0, "--draws")])
def test_repetitions_that_train_nothing_are_refused(folds: int, draws: int, option: str) -> None:
    check_repetitions(2, 1)
    with pytest.raises(SettingsError, match=option):
        check_repetitions(folds, draws)


@pytest.mark.parametrize(("groups", "folds"), [(49, 5), (9, 1), (3, 5)])
def test_too_few_groups_per_fold_are_refused(groups: int, folds: int) -> None:
    check_size(10 * folds, folds)
    with pytest.raises(
        DatasetError, match=rf"{groups} groups of related pictures are too few for {folds} .*--folds lower"
    ):
        check_size(groups, folds)


def test_related_folders_are_refused_and_the_pairs_named() -> None:
    check_unrelated([])
    links = [Link(one=f"a{row}", other="b", reason="subject", detail="m42") for row in range(9)]
    with pytest.raises(
        DatasetError, match=r"9 training pictures .* a0 and b \(subject: m42\); .*; \.\.\..*--drop-related"
    ):
        check_unrelated(links)
