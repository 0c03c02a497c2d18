"""Texts of one proposal from several sources, merged by a fixed priority."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from hubbleclip.archives.stsci.client import ADS, APT, BULK, FIELD_SOURCES, LISTING, MAX_PROVENANCE_CHARS, PAGE, merge
from hubbleclip.archives.stsci.parsers import ProposalText

WORDS = st.none() | st.sampled_from(["a", "b", "long " * 60])
TEXTS = st.builds(
    ProposalText,
    number=st.just("1"),
    title=WORDS,
    pi=WORDS,
    abstract=WORDS,
    category=WORDS,
    proposal_type=WORDS,
    cycle=st.none() | st.integers(1, 3),
)


def test_a_long_value_that_was_not_used_is_truncated_in_the_provenance() -> None:
    texts = {APT: ProposalText(number="1", abstract="x"), BULK: ProposalText(number="1", abstract="y" * 500)}
    assert json.loads(merge("1", texts)[2])["abstract"]["other"][BULK] == "y" * MAX_PROVENANCE_CHARS + "…"


def test_every_field_has_every_source() -> None:
    for sources in FIELD_SOURCES.values():
        assert sorted(sources) == sorted((APT, BULK, LISTING, PAGE, ADS))


@given(st.dictionaries(st.sampled_from([APT, BULK, LISTING, PAGE, ADS]), TEXTS), st.randoms())
def test_the_order_in_which_sources_come_does_not_matter(texts, random) -> None:
    items = list(texts.items())
    random.shuffle(items)
    assert merge("1", dict(items)) == merge("1", texts)
