"""Learning which caption belongs to which picture from features of frozen towers, and the trials of the study."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from experiments.pairs.alignment import fit_alignment, fit_words
from experiments.pairs.frozen_features import Pairs
from experiments.pairs.methods import METHODS, Matcher
from experiments.pairs.report import (
    check_repetitions,
    check_size,
    check_unrelated,
    cross_validation_trials,
    holdout_trials,
)
from experiments.pairs.saved import SavedMatcher, find_pictures, read_matcher, save_matcher
from hubbleclip.config.settings import TrainSettings
from hubbleclip.core.errors import DatasetError, SettingsError
from hubbleclip.core.vectors import unit
from hubbleclip.dataset.splits.continuations import Link

SETTINGS = TrainSettings(steps=60, learning_rate=1e-2, warmup_steps=5, weight_decay=0.1)
NUM, NUM_SEEN, LATENT = 120, 90, 4


def made_pairs() -> Pairs:
    """Pictures and captions that share four hidden numbers, each side through random maps and noise."""
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(NUM, LATENT))
    views = np.repeat((hidden @ rng.normal(size=(LATENT, 24)))[:, None], 3, axis=1)
    text_ne = unit(hidden @ rng.normal(size=(LATENT, 10))).astype(np.float32)
    return Pairs(
        names=tuple(f"p{row:03}" for row in range(NUM)),
        captions=tuple(f"picture {row}" for row in range(NUM)),
        titles=("picture",) * NUM,
        sentences=tuple((f"picture {row}",) for row in range(NUM)),
        group_n=np.arange(NUM),
        final_width=8,
        caption_ne=text_ne,
        title_ne=text_ne,
        sentences_pe=tuple(text_ne[:, None]),
        views_nvd=(views + 0.1 * rng.normal(size=views.shape)).astype(np.float32),
    )


def share_found(matcher: Matcher, unseen: Pairs) -> float:
    scores = matcher.embed_pictures(unseen.views_nvd) @ matcher.embed_texts(unseen.captions, unseen.caption_ne).T
    ahead = (scores > np.diag(scores)[:, None]).sum(axis=1)
    return float((ahead < NUM // 40).mean())


@pytest.mark.parametrize(
    ("way", "least", "most"),
    [
        ("aligned", 0.8, 1.0),
        ("aligned and linear", 0.8, 1.0),
        ("linear", 0.5, 1.0),
        ("linear, all inputs", 0.5, 1.0),
        ("untrained", 0.0, 0.35),
        ("shuffled", 0.0, 0.35),
    ],
)
def test_only_what_learns_from_true_pairs_finds_captions_of_unseen_pictures(
    way: str, least: float, most: float
) -> None:
    pairs = made_pairs()
    seen, unseen = pairs.take(np.arange(NUM_SEEN)), pairs.take(np.arange(NUM_SEEN, NUM))
    assert least <= share_found(METHODS[way](seen, SETTINGS), unseen) <= most


class TextTower:
    """A stub of the model: the features of `picture 7` are those of the seventh made caption."""

    def encode_texts(self, texts: list[str]) -> torch.Tensor:
        return torch.from_numpy(np.stack([made_pairs().caption_ne[int(text.split()[-1])] for text in texts]))


def test_a_saved_matcher_finds_the_pictures_of_a_text(tmp_path: Path) -> None:
    pairs = made_pairs()
    alignment = fit_alignment(pairs)
    saved = SavedMatcher(alignment=alignment, names=pairs.names, pictures_nk=alignment.embed_pictures(pairs.views_nvd))
    save_matcher(tmp_path / "matcher.npz", saved)
    found = read_matcher(tmp_path / "matcher.npz")
    texts = [f"picture {row}" for row in range(0, NUM, 10)]
    best = find_pictures(found, TextTower(), texts, 3)
    assert best == find_pictures(saved, TextTower(), texts, 3)
    assert sum(f"p{row:03}" in names for row, names in zip(range(0, NUM, 10), best, strict=True)) > 9


def test_a_file_that_is_no_matcher_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="run `python -m experiments.pairs`"):
        read_matcher(tmp_path / "matcher.npz")
    (tmp_path / "matcher.npz").write_bytes(b"nothing")
    with pytest.raises(DatasetError, match="is not a trained matcher"):
        read_matcher(tmp_path / "matcher.npz")


def test_words_of_one_text_or_of_most_texts_carry_no_weight() -> None:
    texts = ["the nebula glows", "the nebula fades", "the comet", "the jet", "the moons"]
    assert list(fit_words(texts).weights) == ["nebula"]


FEW = replace(made_pairs().take(np.arange(20)), group_n=np.repeat(np.arange(10), 2))


def test_folds_test_each_picture_once_and_share_no_group_with_the_training_part() -> None:
    trials = cross_validation_trials(FEW, 5, [1])
    assert sorted(name for trial in trials for name in trial.test.names) == list(FEW.names)
    assert not any(set(trial.train.group_n) & set(trial.test.group_n) for trial in trials)


def test_with_two_folders_one_is_trained_on_and_the_other_tested() -> None:
    (trial,) = holdout_trials(FEW.take(np.arange(6)), FEW.take(np.arange(6, 20)), [1])
    assert (len(trial.train.names), len(trial.test.names)) == (6, 14)


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
