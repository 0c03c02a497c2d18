"""Parsers of STScI's proposal files and text listings, and how the texts of one proposal are merged."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubbleclip.archives.http.responses import PAGE_BYTES
from hubbleclip.archives.stsci.client import ADS, APT, BULK, FIELD_SOURCES, LISTING, MAX_PROVENANCE_CHARS, PAGE, merge
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


def test_a_record_is_cleaned() -> None:
    assert parse_abstracts_cat(f"{RULE}\n{RECORD}\n{RULE}\n") == [
        ProposalText(
            number="5054",
            proposal_type="ENG/STIS/PAR",
            title="High Speed Astrometry (A Search): Radio-quiet ones",
            pi="William H. Jefferys",
            abstract="We use a self-consistent set of long- and short exposures (deep) of NGC 1 & 2. A second paragraph.",
        )
    ]


def test_any_length_of_the_dashed_line_separates_records() -> None:
    text = f"------\n{RECORD}\n{'-' * 120}\n{RECORD.replace('05054', '7')}"
    assert [record.number for record in parse_abstracts_cat(text)] == ["5054", "7"]


def test_a_dashed_line_inside_an_abstract_separates_nothing() -> None:
    (record,) = parse_abstracts_cat(f"{RULE}\n{RECORD}\n-------- table\nmore text\n{RULE}\n")
    assert (record.abstract or "").endswith("more text")


@given(st.text(max_size=400))
def test_no_text_breaks_the_parser(text: str) -> None:
    records = parse_abstracts_cat(f"{RULE}\n{text}\n{RULE}\n{RECORD}")
    assert parse_abstracts_cat(RECORD)[0] in records


def test_an_apt_file_without_abstract_is_read_with_and_without_pi() -> None:
    start = b'<?xml version="1.0" encoding="ISO-8859-1"?><HSTProposal><ProposalInformation Category="CAL" Cycle="16"'
    start += b' ScientificCategory="STARS"><Title>Caf\xe9</Title>'
    pi = b'<PrincipalInvestigator FirstName="Ada" MiddleInitial="M." LastName="Byron" Suffix="Jr."/>'
    for element, name in ((b"", None), (pi, "Ada M. Byron Jr.")):
        assert parse_apt(start + element + b"</ProposalInformation></HSTProposal>", "0123") == ProposalText(
            number="123", cycle=16, proposal_type="CAL", category="STARS", title="Café", pi=name
        )


def test_an_apt_file_in_another_encoding_than_declared_is_read() -> None:
    head = b'<?xml version="1.0" encoding="UTF-8"?><HSTProposal><ProposalInformation>'
    for title in (b"<Title>Caf\xe9 \x07</Title>", b"<Title>Caf\xc3\xa9<b/> </Title>"):
        record = parse_apt(head + title + b"</ProposalInformation></HSTProposal>", "12")
        assert record.title == "Café"


def test_the_apt_file_of_another_programme_is_rejected() -> None:
    with pytest.raises(ArchiveError, match="proposal 12 belongs to proposal 13"):
        parse_apt(b'<HSTProposal Phase2ID="13"><ProposalInformation/></HSTProposal>', "12")


def test_an_apt_file_of_many_tags_is_rejected() -> None:
    with pytest.raises(ArchiveError, match="proposal 12 has more than 400000 tags"):
        parse_apt(b"<b>" * 400_001, "12")


@pytest.mark.timeout(10)
@pytest.mark.parametrize("entity", ["&a11;", "&file;"])
def test_an_entity_bomb_and_an_entity_of_a_file_are_rejected(entity: str) -> None:
    bomb = "".join(f'<!ENTITY a{i} "{f"&a{i - 1};" * 10}">' for i in range(1, 12))
    entities = f'<!ENTITY a0 "{"a" * 100}">{bomb}<!ENTITY file SYSTEM "file:///etc/passwd">'
    text = f"<HSTProposal><ProposalInformation><Title>{entity}</Title></ProposalInformation></HSTProposal>"
    with pytest.raises(ArchiveError, match="not XML"):
        parse_apt(f"<!DOCTYPE x [{entities}]>{text}".encode(), "12")


def test_pages_of_both_layouts_are_read() -> None:
    old = "<b>Title:</b> The &amp; Sky<br><b>Cycle:</b> 21<br><p><b>Principal Investigator: </b>Dr. A. B. Sea</p>"
    new = "<table><tr><th>Title</th><td>The &amp; Sky</td></tr><tr><th>Cycle</th><td>21</td></tr><tr><th>PI</th><td>A. B. Sea</td></tr></table>"
    for text in (old, new, new.replace("><", ">\n<"), old + "<br><b>Title:</b> Another<br>"):
        expected = ProposalText(number="9", title="The & Sky", cycle=21, pi="A. B. Sea")
        assert parse_program_page(text.encode(), "9") == expected


def test_a_page_without_title_is_a_typed_error() -> None:
    with pytest.raises(ArchiveError, match="proposal 9 has no title"):
        parse_program_page(b"<html>Not found</html>", "9")


def test_the_bulk_link_is_found() -> None:
    assert find_bulk_link(b'<a href="x.html">x</a><a href="/hst/abstracts.cat">all</a>') == "/hst/abstracts.cat"
    with pytest.raises(ArchiveError, match="has no link"):
        find_bulk_link(b"<p>nothing</p>")


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


@pytest.mark.timeout(60)
@pytest.mark.parametrize("piece", HOSTILE)
def test_a_hostile_file_takes_no_longer_than_its_length_allows(piece: bytes) -> None:
    data = piece * (200_000 // len(piece))
    for parse in (parse_apt, parse_program_page):
        try:
            assert parse(b"<HSTProposal>" + data, "1").number == "1"
        except ArchiveError as error:
            assert "proposal 1" in str(error)
    records = parse_abstracts_cat(f"{RULE}\nProp. Type: GO\n" + data.decode())
    assert all(record.number for record in records)


def test_a_record_that_lacks_a_field_gets_it_from_the_other_record() -> None:
    longer = RECORD.replace("Category:   None", "Category:   COSMOLOGY").replace("Cycle:", "Cycle:      4")
    shorter = longer.replace("A second paragraph.\n", "")
    for text in (f"{RULE}\n{RECORD}\n{RULE}\n{shorter}", f"{RULE}\n{shorter}\n{RULE}\n{RECORD}"):
        (record,) = parse_abstracts_cat(text)
        assert (record.cycle, record.category) == (4, "COSMOLOGY")
        assert (record.abstract or "").endswith("paragraph.")
    whole = "Stellar Populations and the Interstellar Medium of External Galaxies"
    (record,) = parse_abstracts_cat(longer.replace("COSMOLOGY", whole[:50]))
    assert record.category == whole


def test_an_abstract_may_follow_its_keys_without_an_empty_line() -> None:
    (record,) = parse_abstracts_cat(f"{RULE}\nID: 7\nTitle: T\nPI: A. Sea\nThe text: it\ngoes on.\n")
    assert (record.pi, record.abstract) == ("A. Sea", "The text: it goes on.")


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


def jwst_apt(**changes: str) -> bytes:
    """A JWST programme's APT file: a zip archive of XML with a namespace."""
    fields = {
        "ProposalID": "1234",
        "Title": "Cold dust",
        "Abstract": "We observe dust.",
        "Cycle": "2",
        "ScientificCategory": "Galaxies",
    } | changes
    body = "".join(f"<{name}>{value}</{name}>" for name, value in fields.items())
    person = "<InvestigatorAddress><FirstName>Ada</FirstName><LastName>Byron</LastName></InvestigatorAddress>"
    xml = (
        f'<JwstProposal xmlns="http://www.stsci.edu/JWST/APT"><ProposalInformation>{body}<ProposalCategory><GO/>'
        f"</ProposalCategory><PrincipalInvestigator>{person}</PrincipalInvestigator></ProposalInformation></JwstProposal>"
    )
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("manifest", "1234.xml")
        archive.writestr("1234.xml", xml)
    return packed.getvalue()


def test_an_apt_archive_of_jwst_is_read_unless_it_unpacks_to_too_much() -> None:
    text = ProposalText(number="1234", title="Cold dust", abstract="We observe dust.", pi="Ada Byron")
    assert parse_apt(jwst_apt(), "1234") == replace(text, cycle=2, proposal_type="GO", category="Galaxies")
    with pytest.raises(ArchiveError, match="no XML of at most 20000000 bytes"):
        parse_apt(jwst_apt(Abstract="x" * PAGE_BYTES), "1234")


@pytest.mark.parametrize(
    "data", [jwst_apt()[:60], b"PK\x03\x04", jwst_apt(ProposalID="99")], ids=["cut", "signature only", "other proposal"]
)  # the ids are fixed, because a zip archive holds the time at which it was written
def test_a_damaged_or_foreign_apt_archive_is_an_archive_error(data: bytes) -> None:
    with pytest.raises(ArchiveError):
        parse_apt(data, "1234")


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


def test_a_listing_of_each_layout_is_read() -> None:
    printed = ProposalText(number="5054", title="A Title--Of Two Lines", pi="José de la Last", cycle=5)
    abstract = "The first self-consistent words and the last."
    printed = replace(printed, category="Stellar Populations", proposal_type="GO/PAR", abstract=abstract)
    assert parse_listing(PRINTED.encode("cp1252"), "5054") == printed
    form = ProposalText(number="5054", title="A Title Of Two Lines", pi="First Last", proposal_type="GO", cycle=6)
    assert parse_listing(FORM.encode(), "5054") == replace(form, abstract="Result: it glows! And so on.")
    older = ProposalText(number="5054", title=f"{'A TITLE OF SOME WORDS'.ljust(55, 'X')}WORD AND MORE", pi="FIRST LAST")
    older = replace(older, proposal_type="GTO/FOS", category="QUASARS & AGN", abstract="First line, second: line.")
    assert parse_listing(OLDER_FORM.encode(), "5054") == older


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
