"""Learning which caption belongs to which picture from features of frozen towers."""

import numpy as np
import pytest

from experiments.pairs.frozen_features import Pairs
from experiments.pairs.methods import METHODS, Matcher, align, fit_words
from hubbleclip.config.settings import TrainSettings
from hubbleclip.core.vectors import unit

SETTINGS = TrainSettings(steps=60, learning_rate=1e-2, warmup_steps=5, weight_decay=0.1, fixed_scale=5.0)
NUM, NUM_SEEN, LATENT = 120, 90, 4


def made_pairs() -> Pairs:
    """Pictures and captions that share four hidden numbers, each side through random maps and noise."""
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(NUM, LATENT))
    views = np.repeat((hidden @ rng.normal(size=(LATENT, 24)))[:, None], 3, axis=1)
    text_ne = unit(hidden @ rng.normal(size=(LATENT, 10))).astype(np.float32)
    return Pairs(
        names=tuple(f"p{row:03}" for row in range(NUM)), captions=tuple(f"picture {row}" for row in range(NUM)),
        titles=("picture",) * NUM, sentences=tuple((f"picture {row}",) for row in range(NUM)),
        group_n=np.arange(NUM), final_width=8, caption_ne=text_ne, title_ne=text_ne, sentences_pe=tuple(text_ne[:, None]),
        views_nvd=(views + 0.1 * rng.normal(size=views.shape)).astype(np.float32),
    )  # fmt: skip


def share_found(matcher: Matcher, unseen: Pairs) -> float:
    scores = matcher.embed_pictures(unseen.views_nvd) @ matcher.embed_texts(unseen.captions, unseen.caption_ne).T
    ahead = (scores > np.diag(scores)[:, None]).sum(axis=1)
    return float((ahead < NUM // 40).mean())


@pytest.mark.parametrize(("way", "least", "most"), [
    ("aligned", 0.8, 1.0), ("linear", 0.5, 1.0), ("linear, all inputs", 0.5, 1.0), ("untrained", 0.0, 0.35), ("shuffled", 0.0, 0.35),
])  # fmt: skip
def test_only_what_learns_from_true_pairs_finds_captions_of_unseen_pictures(
    way: str, least: float, most: float
) -> None:
    pairs = made_pairs()
    seen, unseen = pairs.take(np.arange(NUM_SEEN)), pairs.take(np.arange(NUM_SEEN, NUM))
    assert least <= share_found(METHODS[way](seen, SETTINGS), unseen) <= most


def test_the_alignment_weighs_directions_by_their_canonical_correlations() -> None:
    rng = np.random.default_rng(1)
    shared = rng.normal(size=(400, 1))
    one = np.concatenate([shared, rng.normal(size=(400, 1))], axis=1)
    other = np.concatenate([rng.normal(size=(400, 1)), -shared], axis=1)
    one, other = one - one.mean(axis=0), other - other.mean(axis=0)
    from_one, from_other = align(one, other, ridge=1e-9)
    assert abs(from_one[0, 0]) > 0.9
    assert np.abs(from_one[:, 1]).max() < 0.2
    assert np.sign(from_one[0, 0]) == -np.sign(from_other[1, 0])


def test_words_of_one_text_or_of_most_texts_carry_no_weight() -> None:
    texts = ["the nebula glows", "the nebula fades", "the comet", "the jet", "the moons"]
    assert list(fit_words(texts).weights) == ["nebula"]


def test_a_text_without_a_known_word_has_no_features() -> None:
    assert not fit_words(["a nebula", "a nebula", "one comet", "two jets"]).features(["quasars"]).any()
