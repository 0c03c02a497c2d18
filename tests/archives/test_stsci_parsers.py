"""Parsers of STScI's proposal files and text listings, and how the texts of one proposal are merged."""

from __future__ import annotations

import io
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubbleclip.archives.http.responses import PAGE_BYTES
from hubbleclip.archives.stsci.client import ADS, APT, BULK, LISTING, PAGE, merge
from hubbleclip.archives.stsci.parsers import (
    ProposalText,
    find_bulk_link,
    parse_abstracts_cat,
    parse_apt,
    parse_program_page,
)
from hubbleclip.archives.stsci.program_listing import parse_listing
from hubbleclip.core.errors import ArchiveError
from hubbleclip.simulator.observations import SkySettings, make_proposals
from hubbleclip.simulator.server.pages import abstracts_cat, apt_xml, is_in_bulk_list, program_page
from tests.made_archive import RULE

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


@given(st.text(max_size=400))
def test_no_text_breaks_the_parser(text: str) -> None:
    records = parse_abstracts_cat(f"{RULE}\n{text}\n{RULE}\n{RECORD}")
    assert parse_abstracts_cat(RECORD)[0] in records


@pytest.mark.timeout(10)
@pytest.mark.parametrize("entity", ["&a11;", "&file;"])
def test_an_entity_bomb_and_an_entity_of_a_file_are_rejected(entity: str) -> None:
    bomb = "".join(f'<!ENTITY a{i} "{f"&a{i - 1};" * 10}">' for i in range(1, 12))
    entities = f'<!ENTITY a0 "{"a" * 100}">{bomb}<!ENTITY file SYSTEM "file:///etc/passwd">'
    text = f"<HSTProposal><ProposalInformation><Title>{entity}</Title></ProposalInformation></HSTProposal>"
    with pytest.raises(ArchiveError, match="not XML"):
        parse_apt(f"<!DOCTYPE x [{entities}]>{text}".encode(), "12")


@given(
    st.binary(max_size=300), st.sampled_from([b"", b"<HSTProposal><ProposalInformation>", b"<b>Title:</b>x<![", b"&#"])
)
def test_no_bytes_break_a_parser(data: bytes, start: bytes) -> None:
    for parse in (parse_apt, parse_program_page, lambda found, _: find_bulk_link(found)):
        try:
            found = parse(start + data, "1")
        except ArchiveError as error:
            found = str(error)
        assert isinstance(found, ProposalText | str)


HOSTILE = (
    *(b"<a>", b"<b>", b"<!--", b"<![CDATA[", b"<!", b"<b a=", b"</b", b"<b>Title:"),  # tags
    *(b"&#9", b"&", b"9", b" "),
    *(b"-----\nx\n", b"ID: 1\n\n", b"Prop. Type: GO\nID: 1\n-----\n", b"Title: x\n", b" x\n"),  # records
)


@pytest.mark.timeout(15)
@pytest.mark.parametrize("piece", HOSTILE)
def test_a_hostile_file_takes_no_longer_than_its_length_allows(piece: bytes) -> None:
    data = piece * (80_000 // len(piece))
    for parse in (parse_apt, parse_program_page):
        try:
            assert parse(b"<HSTProposal>" + data, "1").number == "1"
        except ArchiveError as error:
            assert "proposal 1" in str(error)
    records = parse_abstracts_cat(f"{RULE}\nProp. Type: GO\n" + data.decode())
    assert all(record.number for record in records)


def test_simulated_proposals_come_back_from_each_of_their_forms() -> None:
    proposals = make_proposals(SkySettings(num_proposals=60))
    bulk = {record.number: record for record in parse_abstracts_cat(abstracts_cat(proposals))}
    assert set(bulk) == {proposal.number for proposal in proposals if is_in_bulk_list(proposal)}
    for expected in proposals:
        page = parse_program_page(program_page(expected).encode(), expected.number)
        apt = parse_apt(apt_xml(expected).encode(), expected.number)
        names = ("title", "abstract", "pi", "proposal_type")
        for record in (bulk.get(expected.number, apt), apt):
            assert [getattr(record, name) or "" for name in names] == [getattr(expected, name) for name in names]
        assert (apt.cycle, apt.category) == (expected.cycle, expected.category)
        assert (page.title, page.cycle, page.pi) == (expected.title, expected.cycle, expected.pi)


def test_an_apt_archive_that_unpacks_to_too_much_is_refused() -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.xml", bytes(PAGE_BYTES + 1))
    with pytest.raises(ArchiveError, match="no XML of at most 20000000 bytes"):
        parse_apt(packed.getvalue(), "12")


DASHES = "-" * 84
HEAD = "                                                  5054( 6) - 11/21/95 09:03 - [  {}]\n"
PRINTED = f"""{HEAD.format(1)}
                    PROPOSAL FOR HUBBLE SPACE TELESCOPE OBSERVATIONS
                        ID:                     5054
1.Proposal Title:
  A Title--Of
  Two Lines
{DASHES}
2. Scientific Category          3. Proposal For         4. Cycle
   Stellar Populations             GO/PAR                  5
{DASHES}
5. Investigators
                                                                              Contact?
   CoI: Prof. Some Other                  University of Somewhere               N
    PI: Dr. Jos\u00e9 de la Last               University of Somewhere
{DASHES}
6. Abstract
   The first self-
   consistent words
{HEAD.format(2)}   and the last.
{DASHES}
  Observations Description
{DASHES}
  Type      Title     Cycle
  Target    Another   99
"""
FORM = """! new version
Proposal_Information   ! Section 4
              Title:  A Title
                      Of Two Lines
  Proposal_Category:  GO
             Cycle:    6
Investigators
     PI_name:         Dr. First Last
Abstract:                                ! Free text
    Result: it glows! And so
    on.  ! a remark
Questions
Observing_Description:
    Other text.
"""
OLDER_FORM = f"""coverpage:
    title_1:       {"A TITLE OF SOME WORDS".ljust(55, "X")}WO
    title_2:       RD AND
    title_3:       MORE
    sci_cat:       QUASARS & AGN
    proposal_for:  GTO/FOS
    pi_title:      DR.
    pi_fname:      FIRST
    pi_lname:      LAST
! end of coverpage
abstract:
    line_1:        First line,
    line_16:       second: line.
question:
    line_1:        Other text.
"""


@pytest.mark.parametrize(
    "data", [b"", b"<!DOCTYPE html><title>Title</title>", b"Title\n", b"coverpage:\n", b"\xff\xfe"]
)
def test_invalid_data_is_a_typed_error(data: bytes) -> None:
    with pytest.raises(ArchiveError, match="proposal 77"):
        parse_listing(data, "77")


@given(st.binary(max_size=300), st.sampled_from([PRINTED, FORM, OLDER_FORM]), st.integers(0, 600))
def test_no_bytes_break_the_parser_and_those_behind_the_texts_change_nothing(
    data: bytes, text: str, position: int
) -> None:
    try:
        record = parse_listing(text[:position].encode() + data + text[position:].encode(), "5054")
    except ArchiveError as error:
        assert "5054" in str(error)
    else:
        texts = [record.title, record.abstract, record.pi, record.category, record.proposal_type]
        assert (record.number, bool(record.title)) == ("5054", True)
        assert all(one == " ".join(one.split()) and one.isprintable() for one in texts if one)
    whole = text.encode()
    assert parse_listing(whole + b"\n " + data.replace(b":", b""), "5054") == parse_listing(whole, "5054")


@pytest.mark.timeout(10)
@pytest.mark.parametrize(
    "piece", ["-", " ", "Title\n", "a ", "a: ", "! ", "line_1: x\n", "( 1) - ", "ID 1", "1. ", "\n", "PI: "]
)
@pytest.mark.parametrize("start", ["Title\n", "Proposal_Information\nAbstract: \n ", "coverpage:\nabstract:\n "])
def test_a_hostile_listing_takes_no_longer_than_its_length_allows(piece: str, start: str) -> None:
    try:
        assert parse_listing((start + piece * (150_000 // len(piece))).encode(), "5054").number == "5054"
    except ArchiveError as error:
        assert "5054" in str(error)


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


@given(st.dictionaries(st.sampled_from([APT, BULK, LISTING, PAGE, ADS]), TEXTS), st.randoms())
def test_the_order_in_which_sources_come_does_not_matter(texts, random) -> None:
    items = list(texts.items())
    random.shuffle(items)
    assert merge("1", dict(items)) == merge("1", texts)
