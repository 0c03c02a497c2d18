"""Parsers of programmes' text listings; the real layouts are in tests/real."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubbleclip.archives.stsci.program_listing import parse_listing
from hubbleclip.core.errors import ArchiveError

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


def test_a_printed_listing_is_read_over_its_pages() -> None:
    record = parse_listing(PRINTED.encode("cp1252"), "5054")
    assert (record.title, record.pi) == ("A Title--Of Two Lines", "José de la Last")
    assert (record.category, record.proposal_type, record.cycle) == ("Stellar Populations", "GO/PAR", 5)
    assert record.abstract == "The first self-consistent words and the last."


def test_a_form_is_read_without_its_comments() -> None:
    record = parse_listing(FORM.encode(), "5054")
    assert (record.title, record.pi) == ("A Title Of Two Lines", "First Last")
    assert (record.proposal_type, record.cycle) == ("GO", 6)
    assert record.abstract == "Result: it glows! And so on."


def test_the_parts_of_an_older_form_are_joined_where_they_were_cut() -> None:
    record = parse_listing(OLDER_FORM.encode(), "5054")
    assert (record.title or "").endswith("XWORD AND MORE")
    assert (record.pi, record.proposal_type, record.category) == ("FIRST LAST", "GTO/FOS", "QUASARS & AGN")
    assert record.abstract == "First line, second: line."


def test_the_listing_of_another_programme_is_rejected() -> None:
    with pytest.raises(ArchiveError, match="proposal 77 belongs to proposal 5054"):
        parse_listing(PRINTED.encode(), "77")


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


@pytest.mark.timeout(30)
@pytest.mark.parametrize(
    "piece", ["-", " ", "Title\n", "a ", "a: ", "! ", "line_1: x\n", "( 1) - ", "ID 1", "1. ", "\n", "PI: "]
)
@pytest.mark.parametrize("start", ["Title\n", "Proposal_Information\nAbstract: \n ", "coverpage:\nabstract:\n "])
def test_a_hostile_listing_takes_no_longer_than_its_length_allows(piece: str, start: str) -> None:
    try:
        assert parse_listing((start + piece * (400_000 // len(piece))).encode(), "5054").number == "5054"
    except ArchiveError as error:
        assert "5054" in str(error)
