"""Trials on pairs, and their table."""

import numpy as np
import pytest

from experiments.pairs.frozen_features import Pairs
from experiments.pairs.report import (
    BASELINES,
    METRICS,
    check_disjoint,
    check_repetitions,
    check_size,
    cross_validation_trials,
    holdout_trials,
    table_rows,
)
from hubbleclip.core.errors import DatasetError, SettingsError

GROUPS = np.repeat(np.arange(10), 2)


def made_pairs() -> Pairs:
    num = len(GROUPS)
    features = np.eye(num, dtype=np.float32)
    names = tuple(f"p{row:02}" for row in range(num))
    return Pairs(
        names=names, captions=names, titles=names, sentences=tuple((name,) for name in names), group_n=GROUPS,
        views_nvd=features[:, None], final_width=4, caption_ne=features, title_ne=features,
        sentences_pe=tuple(features[:, None]),
    )  # fmt: skip


def test_folds_test_each_picture_once_and_share_no_group_with_the_training_part() -> None:
    trials = cross_validation_trials(made_pairs(), 5, [1])
    assert sorted(name for trial in trials for name in trial.test.names) == list(made_pairs().names)
    assert not any(set(trial.train.group_n) & set(trial.test.group_n) for trial in trials)


def test_with_two_folders_one_is_trained_on_and_the_other_tested() -> None:
    (trial,) = holdout_trials(made_pairs().take(np.arange(6)), made_pairs().take(np.arange(6, 20)), [1])
    assert (len(trial.train.names), len(trial.test.names)) == (6, 14)


@pytest.mark.parametrize(("folds", "seeds", "option"), [(1, 3, "--folds"), (-2, 3, "--folds"), (5, 0, "--seeds")])
def test_repetitions_that_train_nothing_are_refused(folds: int, seeds: int, option: str) -> None:
    check_repetitions(2, 1)
    with pytest.raises(SettingsError, match=option):
        check_repetitions(folds, seeds)


@pytest.mark.parametrize(("groups", "folds"), [(49, 5), (9, 1), (3, 5)])
def test_too_few_groups_per_fold_are_refused(groups: int, folds: int) -> None:
    check_size(10 * folds, folds)
    with pytest.raises(DatasetError, match=rf"{groups} caption groups are too few for {folds} .*--folds lower"):
        check_size(groups, folds)


def test_folders_that_share_pictures_or_captions_are_refused_with_counts() -> None:
    check_disjoint(({"a", "b"}, {"A", "B"}), ({"c"}, {"C"}))
    with pytest.raises(DatasetError, match="2 pictures and 0 captions are in both"):
        check_disjoint(({"a", "b"}, {"A", "B"}), ({"a", "b", "c"}, {"C"}))
    with pytest.raises(DatasetError, match="0 pictures and 1 captions are in both"):
        check_disjoint(({"a", "b"}, {"A", "B"}), ({"c"}, {"B", "C"}))


def test_the_table_says_better_only_where_the_interval_excludes_0() -> None:
    row = {"seed": "all", "way": "aligned"}
    row |= {name: [0.5, 0.4, 0.6] for name in METRICS}
    row |= {f"{METRICS[0]}_minus_{baseline}": [0.1, 0.01, 0.2] for baseline in BASELINES}
    row |= {f"{METRICS[1]}_minus_{baseline}": [0.1, -0.01, 0.2] for baseline in BASELINES}
    (cells,) = table_rows([row])
    assert cells["i2t top 10 %"] == "50.0 [40.0, 60.0]"
    assert cells["i2t minus linear"] == "+10.0 [+1.0, +20.0] better"
    assert cells["t2i minus linear"] == "+10.0 [-1.0, +20.0]"
