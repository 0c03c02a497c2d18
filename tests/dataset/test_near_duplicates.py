import random
from datetime import UTC, datetime
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubbleclip.config.settings import SplitSettings
from hubbleclip.core.records import Proposal
from hubbleclip.dataset.splits.near_duplicates import group_proposals, jaccard, near_duplicates, shingles, text_links


def grouped(proposals, least=0.7):
    return group_proposals(proposals, text_links(proposals, SplitSettings(near_duplicate=least, continuations=False)))


def proposal(number, abstract, title="A title of five words"):
    return Proposal(
        proposal_id=f"hst:{number}", archive="hst", number=str(number), cycle=None, proposal_type=None, category=None,
        title=title, pi=None, abstract=abstract, source="made", fetched_at=datetime(2024, 1, 1, tzinfo=UTC),
    )  # fmt: skip


def by_id(*proposals):
    return {p.proposal_id: p for p in proposals}


ITEMS = st.frozensets(st.sampled_from([f"w{i}" for i in range(12)]), min_size=1)


@given(st.lists(ITEMS, max_size=14), st.sampled_from([0.3, 0.5, 0.55, 0.7, 0.9, 1.0]))
def test_near_duplicates_are_those_of_comparing_all_pairs(sets, least):
    named = {f"{i:02d}": items for i, items in enumerate(sets)}
    slow = {pair for pair in combinations(sorted(named), 2) if jaccard(named[pair[0]], named[pair[1]]) >= least}
    fast = [tuple(sorted(pair)) for pair in near_duplicates(named, least)]
    assert set(fast) == slow
    assert len(fast) == len(slow)


def test_a_threshold_met_exactly_counts():
    a = frozenset(f"s{i}" for i in range(14))
    b = a | {f"b{i}" for i in range(11)}
    assert 0.56 * len(b) > len(a)  # in floating point
    assert list(near_duplicates({"a": a, "b": b}, 0.56)) == [("a", "b")]


def test_shingles_ignore_case_and_punctuation():
    assert shingles("The stars, the dust & the GAS!") == {"the stars the dust the", "stars the dust the gas"}


def test_a_short_text_is_one_shingle_and_an_empty_one_has_none():
    assert shingles("Dust lanes") == {"dust lanes"}
    assert shingles(" -- ") == frozenset()


def words(seed, count):
    rng = random.Random(seed)
    return [f"w{rng.randrange(5000)}" for _ in range(count)]


def test_a_resubmitted_abstract_ties_proposals():
    text = words(1, 100)
    again = [*text[:95], "and", "a", "new", "last", "line"]
    roots = grouped(
        by_id(proposal(1, " ".join(text)), proposal(2, " ".join(again)), proposal(3, " ".join(words(2, 100))))
    )
    assert roots == {"hst:1": "hst:1", "hst:2": "hst:1", "hst:3": "hst:3"}


def test_ties_reach_through_a_proposal_between():
    text = words(3, 140)
    steps = [" ".join(text[20 * i : 20 * i + 100]) for i in range(3)]
    sets = [shingles(step) for step in steps]
    assert jaccard(sets[0], sets[2]) < 0.5 <= min(jaccard(sets[0], sets[1]), jaccard(sets[1], sets[2]))
    assert set(grouped(by_id(*(proposal(i, step) for i, step in enumerate(steps))), 0.5).values()) == {"hst:0"}


def test_proposals_without_abstract_are_compared_by_title():
    roots = grouped(by_id(proposal(1, None, "Same"), proposal(2, None, "Same"), proposal(3, None, "Other")))
    assert roots == {"hst:1": "hst:1", "hst:2": "hst:1", "hst:3": "hst:3"}


def test_proposals_without_any_text_stay_apart():
    assert set(grouped(by_id(proposal(1, None, ""), proposal(2, None, ""))).values()) == {"hst:1", "hst:2"}


@pytest.mark.slow
def test_thirteen_thousand_abstracts_are_grouped():
    stock = words(0, 40)
    many = by_id(*(proposal(i, " ".join([*stock, *words(100 + i - i % 50 // 49, 160)])) for i in range(13_000)))
    roots = grouped(many)
    assert len(set(roots.values())) == 13_000 - 260
