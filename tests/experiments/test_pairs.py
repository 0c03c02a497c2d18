"""Trials on pairs, and the table that tells of them."""

import numpy as np
import pytest

from experiments.pairs.frozen_features import Pairs
from experiments.pairs.report import (
    METRICS,
    RIVALS,
    apart_trials,
    check_apart,
    check_repetitions,
    check_size,
    cross_trials,
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
        pieces=tuple(features[:, None]),
    )  # fmt: skip


def test_folds_test_each_picture_once_and_share_no_group_with_what_is_learnt_from() -> None:
    trials = cross_trials(made_pairs(), 5, [1])
    assert sorted(name for trial in trials for name in trial.test.names) == list(made_pairs().names)
    assert not any(set(trial.train.group_n) & set(trial.test.group_n) for trial in trials)


def test_with_two_folders_all_of_one_is_learnt_and_all_of_the_other_tested() -> None:
    (trial,) = apart_trials(made_pairs().take(np.arange(6)), made_pairs().take(np.arange(6, 20)), [1])
    assert (len(trial.train.names), len(trial.test.names)) == (6, 14)


@pytest.mark.parametrize(("folds", "seeds", "told"), [(1, 3, "--folds"), (-2, 3, "--folds"), (5, 0, "--seeds")])
def test_repetitions_that_train_nothing_are_refused(folds: int, seeds: int, told: str) -> None:
    check_repetitions(2, 1)
    with pytest.raises(SettingsError, match=told):
        check_repetitions(folds, seeds)


@pytest.mark.parametrize(("groups", "folds"), [(49, 5), (9, 1), (3, 5)])
def test_too_few_groups_a_fold_are_refused(groups: int, folds: int) -> None:
    check_size(10 * folds, folds)
    with pytest.raises(DatasetError, match=rf"{groups} caption groups are too few for {folds} .*--folds lower"):
        check_size(groups, folds)


def test_a_test_folder_that_holds_what_was_learnt_is_refused_with_counts() -> None:
    check_apart(({"a", "b"}, {"A", "B"}), ({"c"}, {"C"}))
    with pytest.raises(DatasetError, match="2 pictures and 0 captions stand in both"):
        check_apart(({"a", "b"}, {"A", "B"}), ({"a", "b", "c"}, {"C"}))
    with pytest.raises(DatasetError, match="0 pictures and 1 captions stand in both"):
        check_apart(({"a", "b"}, {"A", "B"}), ({"c"}, {"B", "C"}))


def test_the_table_says_better_only_where_the_interval_leaves_0_out() -> None:
    row = {"seed": "all", "way": "aligned"}
    row |= {name: [0.5, 0.4, 0.6] for name in METRICS}
    row |= {f"{METRICS[0]}_minus_{rival}": [0.1, 0.01, 0.2] for rival in RIVALS}
    row |= {f"{METRICS[1]}_minus_{rival}": [0.1, -0.01, 0.2] for rival in RIVALS}
    (told,) = table_rows([row])
    assert told["i2t top 10 %"] == "50.0 [40.0, 60.0]"
    assert told["i2t minus linear"] == "+10.0 [+1.0, +20.0] better"
    assert told["t2i minus linear"] == "+10.0 [-1.0, +20.0]"
