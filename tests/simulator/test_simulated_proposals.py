"""Text of the simulated proposals: varied, of the right length, on the right subject, and reproducible."""

from itertools import combinations

import pytest

from hubbleclip.config.settings import SimulatorSettings
from hubbleclip.simulator.object_kinds import CALIBRATION, OBJECT_KINDS
from hubbleclip.simulator.plans import ObservingPlan, plan_of
from hubbleclip.simulator.proposals import ProposalText, _read_table, write_proposal

NUM = 330


@pytest.fixture(scope="module")
def texts() -> list[tuple[ObservingPlan, ProposalText]]:
    settings = SimulatorSettings(num_proposals=NUM)
    plans = [plan_of(settings, index) for index in range(NUM)]
    return [(plan, write_proposal(plan)) for plan in plans if plan.kind is not CALIBRATION]


def grams(text: str) -> frozenset[tuple[str, ...]]:
    words = text.lower().split()
    return frozenset(tuple(words[i : i + 5]) for i in range(len(words) - 4))


def test_abstracts_have_90_to_200_words_and_are_distinct(texts: list[tuple[ObservingPlan, ProposalText]]) -> None:
    lengths = [len(text.abstract.split()) for _, text in texts]
    assert 90 <= min(lengths) <= max(lengths) <= 200
    assert len({text.abstract for _, text in texts}) == len(texts)


def test_only_continuations_are_near_duplicates(texts: list[tuple[ObservingPlan, ProposalText]]) -> None:
    items = [(plan.parent if plan.is_continuation else plan.index, grams(text.abstract)) for plan, text in texts]
    for (root_a, a), (root_b, b) in combinations(items, 2):
        similarity = (num := len(a & b)) / (len(a) + len(b) - num)
        assert (similarity > 0.7) if root_a == root_b else (similarity < 0.5)
    assert sum(plan.is_continuation for plan, _ in texts) >= 3


def test_an_abstract_names_its_filters_and_no_field_is_left_unfilled(
    texts: list[tuple[ObservingPlan, ProposalText]],
) -> None:
    for plan, text in texts:
        assert "{" not in text.abstract + text.title
        if not plan.is_continuation:
            assert any(name in text.abstract for name in plan.filters)


def test_abstracts_use_the_vocabulary_of_their_kind(texts: list[tuple[ObservingPlan, ProposalText]]) -> None:
    vocabulary = _read_table("vocabulary")
    for plan, text in texts:
        phrases = vocabulary[plan.kind.name]["question"]
        assert any(phrase.lower() in text.abstract.lower() for phrase in phrases), text.abstract


def test_every_kind_has_words_for_every_variant() -> None:
    vocabulary = _read_table("vocabulary")
    for kind in (*OBJECT_KINDS.values(), CALIBRATION):
        assert set(kind.variants) == set(vocabulary[kind.name]["variant"])
