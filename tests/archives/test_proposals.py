"""Parsers of STScI's proposal files."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubbleclip.archives.proposals import (
    clean_name,
    clean_number,
    clean_text,
    find_bulk_link,
    parse_abstracts_cat,
    parse_apt,
    parse_program_page,
)
from hubbleclip.errors import ArchiveError
from hubbleclip.settings import SimulatorSettings
from hubbleclip.simulator.pages import abstracts_cat, apt_xml, in_bulk, program_page
from hubbleclip.simulator.visits import make_proposals

RULE = "-" * 79
RECORD = """Prop. Type: ENG/STIS/PAR
Category:   None
ID:         05054
Cycle:
Title:\t    High Speed Astrometry {A Search}: Radio-
\t\t    quiet ones
PI:         Dr. William H. Jefferys

We use a self-
consistent set of long-
and short exposures {deep} of NGC&nbsp;1 &amp; 2.

A second paragraph.
"""


def test_a_record_is_cleaned() -> None:
    (record,) = parse_abstracts_cat(f"{RULE}\n{RECORD}\n{RULE}\n")
    assert (record.number, record.cycle, record.proposal_type, record.category) == ("5054", None, "ENG/STIS/PAR", None)
    assert record.title == "High Speed Astrometry (A Search): Radio-quiet ones"
    assert record.pi == "William H. Jefferys"
    assert record.abstract == (
        "We use a self-consistent set of long- and short exposures (deep) of NGC 1 & 2. A second paragraph."
    )


def test_any_length_of_the_dashed_line_parts_records() -> None:
    text = f"------\n{RECORD}\n{'-' * 120}\n{RECORD.replace('05054', '7')}"
    assert [record.number for record in parse_abstracts_cat(text)] == ["5054", "7"]


def test_a_dashed_line_inside_an_abstract_parts_nothing() -> None:
    (record,) = parse_abstracts_cat(f"{RULE}\n{RECORD}\n-------- table\nmore text\n{RULE}\n")
    assert (record.abstract or "").endswith("more text")


def test_of_one_number_twice_the_longer_abstract_counts() -> None:
    shorter = RECORD.replace("A second paragraph.\n", "")
    for text in (f"{RULE}\n{RECORD}\n{RULE}\n{shorter}", f"{RULE}\n{shorter}\n{RULE}\n{RECORD}"):
        (record,) = parse_abstracts_cat(text)
        assert (record.abstract or "").endswith("paragraph.")


def test_a_record_without_abstract_keeps_its_title() -> None:
    (record,) = parse_abstracts_cat(f"{RULE}\n{RECORD.partition('We use')[0]}{RULE}\n")
    assert record.abstract is None
    assert record.title


def test_nothing_gives_no_records() -> None:
    assert parse_abstracts_cat("") == []
    assert parse_abstracts_cat(f"{RULE}\n{RULE}\n") == []


@given(st.text(max_size=400))
def test_no_text_breaks_the_parser(text: str) -> None:
    records = parse_abstracts_cat(f"{RULE}\n{text}\n{RULE}\n{RECORD}")
    assert parse_abstracts_cat(RECORD)[0] in records


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        (r"{\it narrower} and ``quoted'' text", 'narrower and "quoted" text'),
        (r"about $\sim$10$^{4}$ K", "about ~10^(4) K"),
        ("oxygen- rich, pre- and post-explosion", "oxygen-rich, pre- and post-explosion"),
        ("SN0540--\n69.3", "SN0540--69.3"),
        ("a &gt;&nbsp;b", "a > b"),
        ("None", None),
        ("  \n ", None),
        (None, None),
    ],
)
def test_clean_text(raw: str | None, clean: str | None) -> None:
    assert clean_text(raw) == clean


@given(st.text(max_size=200))
def test_cleaned_text_has_single_spaces(text: str) -> None:
    clean = clean_text(text)
    assert clean is None or clean == " ".join(clean.split())


def test_names_and_numbers_are_cleaned() -> None:
    assert clean_name("Prof. Dr. Ada Lovelace") == "Ada Lovelace"
    assert (clean_number("00123"), clean_number("GO-6507"), clean_number("none")) == ("123", "6507", "")


def test_apt_without_abstract_or_pi() -> None:
    data = (
        b'<?xml version="1.0" encoding="ISO-8859-1"?><HSTProposal><ProposalInformation Category="CAL" Cycle="16">'
        + (b"<Title>Caf\xe9</Title></ProposalInformation></HSTProposal>")
    )
    record = parse_apt(data, "0123")
    assert (record.number, record.title, record.abstract, record.pi, record.cycle) == ("123", "Café", None, None, 16)


@pytest.mark.parametrize("data", [b"", b"<html>", b"<a/>", b"\xff\xfe"])
def test_what_is_no_apt_is_a_typed_error(data: bytes) -> None:
    with pytest.raises(ArchiveError, match="proposal 12"):
        parse_apt(data, "12")


def test_pages_of_both_layouts_are_read() -> None:
    old = "<b>Title:</b> The &amp; Sky<br><b>Cycle:</b> 21<br><p><b>Principal Investigator: </b>Dr. A. B. Sea</p>"
    new = "<table><tr><th>Title</th><td>The &amp; Sky</td></tr><tr><th>Cycle</th><td>21</td></tr><tr><th>PI</th><td>A. B. Sea</td></tr></table>"
    for text in (old, new):
        record = parse_program_page(text, "9")
        assert record is not None
        assert (record.title, record.cycle, record.pi) == ("The & Sky", 21, "A. B. Sea")
    assert parse_program_page("<html>Not found</html>", "9") is None


def test_the_bulk_link_is_found() -> None:
    assert find_bulk_link('<a href="x.html">x</a><a href="/hst/abstracts.cat">all</a>') == "/hst/abstracts.cat"
    assert find_bulk_link("<p>nothing</p>") is None


def test_simulated_proposals_come_back_from_each_of_their_forms() -> None:
    proposals = make_proposals(SimulatorSettings(num_proposals=60))
    bulk = {record.number: record for record in parse_abstracts_cat(abstracts_cat(proposals))}
    assert set(bulk) == {proposal.number for proposal in proposals if in_bulk(proposal)}
    for told in proposals:
        page = parse_program_page(program_page(told), told.number)
        assert page is not None
        for record in (bulk.get(told.number), parse_apt(apt_xml(told).encode(), told.number)):
            if record is not None:
                assert (record.title, record.abstract or "", record.pi) == (told.title, told.abstract, told.pi)
        assert (page.title, page.cycle, page.pi) == (told.title, told.cycle, told.pi)
