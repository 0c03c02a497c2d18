import random
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from valid_catalog import make

from hubbleclip.config.settings import SplitSettings
from hubbleclip.core.records import Proposal
from hubbleclip.dataset.captions import is_placeholder
from hubbleclip.dataset.splits.near_duplicates import (
    containment,
    group_proposals,
    jaccard,
    near_duplicate_links,
    near_duplicates,
    similarity,
    text_links,
)


def grouped(proposals, least=0.7):
    return group_proposals(proposals, near_duplicate_links(proposals, least))


def proposal(number, abstract, title="A title of five words"):
    values = {"proposal_id": f"hst:{number}", "number": str(number), "title": title, "abstract": abstract}
    return make(Proposal, **values)


def by_id(*proposals):
    return {p.proposal_id: p for p in proposals}


def links_of(*texts):
    """Links of proposals whose abstracts are given as lists of words."""
    return near_duplicate_links(by_id(*(proposal(i, " ".join(text)) for i, text in enumerate(texts))), 0.7)


ITEMS = st.frozensets(st.sampled_from([f"w{i}" for i in range(12)]), min_size=1)


@given(
    st.lists(ITEMS, max_size=14),
    st.sampled_from([0.3, 0.5, 0.55, 0.7, 0.9, 1.0]),
    st.sampled_from([jaccard, similarity]),
)
def test_near_duplicates_are_those_of_comparing_all_pairs(sets, least, measure):
    named = {f"{i:02d}": items for i, items in enumerate(sets)}
    slow = {pair for pair in combinations(sorted(named), 2) if measure(named[pair[0]], named[pair[1]]) >= least}
    fast = [tuple(sorted(pair)) for pair in near_duplicates(named, least, measure)]
    assert set(fast) == slow
    assert len(fast) == len(slow)


def words(seed, count):
    rng = random.Random(seed)
    return [f"w{rng.randrange(5000)}" for _ in range(count)]


def replaced(text, count):
    """The text with `count` of its words replaced, evenly spread."""
    step = len(text) // count
    return [f"new{i}" if i % step == step // 2 and i // step < count else word for i, word in enumerate(text)]


@pytest.mark.parametrize(
    ("one", "other", "evidence"),
    [
        (words(7, 150), replaced(words(7, 150), 6), ["containment 0.79"]),  # their Jaccard similarity is 0.66
        (words(7, 150), [*words(7, 150), *words(8, 90)], ["containment 1.00"]),
        (words(7, 150), [*words(8, 70), *words(7, 150), *words(9, 200)], ["containment 1.00"]),
        (words(7, 104), [*words(7, 73), *words(8, 90)], []),  # 69 of 100 shingles
        (words(7, 104), [*words(7, 74), *words(8, 90)], ["containment 0.70"]),
        (words(7, 104), [*words(7, 94), *words(8, 10)], ["similarity 0.82"]),  # 90 of 110 shingles
        (words(7, 74), words(7, 104), ["similarity 0.70"]),
    ],
)
def test_texts_are_linked_from_the_threshold_on_with_the_evidence(one, other, evidence):
    links = links_of(one, other)
    assert [(link.reason, link.detail) for link in links] == [("text", detail) for detail in evidence]


@pytest.mark.parametrize(
    "text", ["Abstract not available.", "---", 'The "ABSTRACT" section is not present in the image.']
)
def test_placeholders_are_no_text(text):
    assert is_placeholder(text)
    many = by_id(*(proposal(i, text, f"Title number {i} of forty unrelated proposals") for i in range(40)))
    assert len(set(grouped(many).values())) == 40
    untitled = by_id(*(proposal(i, None, text) for i in range(40)))
    links = text_links(untitled, SplitSettings())
    assert links == []


@pytest.mark.parametrize(("num_words", "num_groups"), [(13, 2), (14, 1)])
def test_a_text_of_ten_shingles_is_the_shortest_that_another_may_contain(num_words, num_groups):
    text = words(7, num_words)
    roots = grouped(by_id(proposal(1, " ".join(text)), proposal(2, " ".join([*words(8, 40), *text, *words(9, 40)]))))
    assert len(set(roots.values())) == num_groups


@pytest.mark.parametrize("abstract", [None, "", "Abstract not available."])
def test_a_title_is_compared_where_the_abstract_is_only_a_placeholder(abstract):
    roots = grouped(by_id(proposal(1, abstract, "Images of Mars"), proposal(2, "Images of Mars", "Another title")))
    assert set(roots.values()) == {"hst:1"}


@pytest.mark.parametrize("names", [("a", "b"), ("b", "a")])
def test_a_short_text_is_found_in_a_long_one_whatever_their_ids(names):
    short, long = names
    sets = {short: frozenset(words(7, 20)), long: frozenset([*words(7, 20), *words(8, 200)])}
    assert list(near_duplicates(sets, 0.7, similarity)) == [(short, long)]


def test_a_share_of_just_the_threshold_counts_though_its_product_is_rounded_up():
    shared = [f"s{i}" for i in range(14)]
    sets = {
        "a": frozenset([*shared, *(f"a{i}" for i in range(11))]),
        "b": frozenset([*shared, *(f"b{i}" for i in range(90))]),
    }
    assert (len(sets["a"]), containment(sets["a"], sets["b"])) == (25, 0.56)
    assert list(near_duplicates(sets, 0.56, similarity)) == [("a", "b")]
