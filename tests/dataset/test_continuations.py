import re
from dataclasses import replace

import pytest
from sky_cases import proposal

from hubbleclip.dataset.splits.continuations import continuation_links, referenced_programmes, title_stem


def programme(number, title, abstract="", pi=None):
    return replace(proposal(f"hst:{number}", abstract), number=str(number), title=title, pi=pi)


def pairs(*proposals):
    return {(link.one, link.other, link.reason) for link in continuation_links({p.proposal_id: p for p in proposals})}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Gas in Galaxies of Seyfert Type I", "Gas in Galaxies of Seyfert Type II"),
        ("Winds of Hot Stars in C IV", "Winds of Hot Stars in C II"),
        ("The Lyman Continuum of Galaxies", "The Lyman Alpha Line of Galaxies"),
        ("A Survey of Supernova 1987A", "A Survey of Supernova 1993J"),
        ("Deep Imaging of IC 10", "Deep Imaging of IC 12"),
        *((f"Stars of {name} I", f"Stars of {name} II") for name in ("Class", "Population", "H", "Mg")),
    ],
)
def test_a_numeral_that_names_something_parts_two_titles(one, other):
    assert title_stem(one) != title_stem(other)


def test_one_series_is_linked_whoever_leads_it():
    first = programme(1, "Disks around old stars", pi="A. Able")
    second = programme(2, "Disks around old stars II", pi="B. Best")
    assert pairs(first, second) == {("hst:1", "hst:2", "title")}
    assert pairs(first, replace(second, archive="jwst")) == set()


@pytest.mark.parametrize(("pi", "linked"), [("Jane T. Doe", True), ("J. Doe", True), ("Jim Roe", False), (None, False)])
def test_a_number_named_in_passing_links_only_the_same_pi(pi, linked):
    first = programme(5555, "First of two works", pi="Jane Doe")
    second = programme(6666, "Other", "As in GO 5555 we see.", pi=pi)
    assert bool(pairs(first, second)) == linked


def test_a_proposal_is_linked_neither_to_itself_nor_to_one_of_another_archive():
    one = programme(5555, "First of two works", "A continuation of GO 5555.", pi="A. Able")
    other = replace(programme(6666, "Second of the works", "A continuation of GO 5555."), archive="jwst")
    third = programme(7777, "Third of the works", "This is GO 7777.", pi="A. Able")
    assert pairs(one, other, third) == set()


COUNTS = "1;17;I;IV;IX;one;two;three;four;five;six;seven;eight;nine;ten"
UNITS = "Cycle;Cyc;Part;Pt;Epoch;Year;Phase;Season;Visit;Parts"
ORDINALS = "1st;2nd;3rd;4th;first;second;third;fourth;fifth;sixth;seventh;eighth;ninth;tenth"
MARKERS = (
    "continuation;continued;continues;continuing;continue;carry-over;carryover;repeat;repeated;repeats;resubmission;"
    "extension;follow-up;follow up;followup;supplement;supplemental;supplementary;Cycles 3/4;Cycles 3 and 4;Part 1 of 3;"
    "1999;2021;2009-10;C7"
)


TITLES = (
    "The Light Echo of a Star;A Light Echo of a Star;An Light Echo of a Star;The Light Echo of a Star: Cycle 16 DD;"
    "Light Echo of a Star, Part II;The Light Echo of a Star - Part 2 of 5;The Light Echo of a Star III.;"
    "the light echo of a star (second epoch observations);Continued: The Light Echo of a Star;"
    "The Light Echo of a Star (Cycle 12 continuation of 9146);The Light Echo of a Star - Repeat for HOPR #120;"
    "The Light Echo of a Star: Cycles 25 & 26;The Light Echo of a Star - 1997;The Light Echo of a Star C24"
)
SERIES = [
    *(f"Part {count}" for count in re.findall(r"[^;]+", COUNTS)),
    *(f"{unit} 3" for unit in re.findall(r"[^;]+", UNITS)),
    *(f"{ordinal} epoch" for ordinal in re.findall(r"[^;]+", ORDINALS)),
    *re.findall(r"[^;]+", MARKERS),
]


@pytest.mark.parametrize("title", [*TITLES.split(";"), *(f"Light Echo of a Star: {marker}" for marker in SERIES)])
def test_titles_of_one_series_have_one_stem(title):
    assert title_stem(title) == "light echo of a star"


@pytest.mark.parametrize(
    "label",
    re.findall(
        r"[^;]+",
        "GO;GTO;SNAP;DD;DDT;ERS;CAL;AR;PID;ID;HST;Program;program;Programs;Programme;programmes;Proposal;"
        "proposal;Proposals;HST program;GO proposal;GO-;GO #",
    ),
)
def test_each_label_of_a_programme_number_is_known(label):
    joined = label if label[-1] in "-#" else f"{label} "
    assert referenced_programmes(f"As seen by {joined}9401 & 9402, 940 and 94021.")[1] >= {"9401", "9402"}
    assert referenced_programmes(f"A repeat of work by {joined}94011.") == ({"94011"}, set())


@pytest.mark.parametrize("end", [". ", "; ", "? ", "! ", "\n\n"])
def test_a_continuation_reaches_no_further_than_its_sentence(end):
    assert referenced_programmes(f"We continue this{end}As in GO 9401") == (set(), {"9401"})


def test_a_title_is_a_sentence_of_its_own():
    named = programme(9401, "Another of the works", pi="A. Able")
    assert pairs(named, programme(9999, "One continuation of our work", "GO 9401 saw it.", pi="B. Best")) == set()


@pytest.mark.parametrize(("text", "pi"), [("This continues GO {}.", "B. Best"), ("As in GO {}.", "A. Able")])
@pytest.mark.parametrize(("naming", "number"), [(5555, 6666), (6666, 5555)])
def test_a_number_links_whether_it_is_earlier_or_later(naming, number, text, pi):
    one = programme(naming, "First of two works", text.format(number), pi="A. Able")
    other = programme(number, "Second of the works", pi=pi)
    assert pairs(one, other) == {(other.proposal_id, one.proposal_id, "number")}


@pytest.mark.parametrize("parent", [True, False])
def test_all_that_continue_one_programme_are_linked_to_the_first(parent):
    followers = [programme(2000 + i, f"Work of its own number {'abc'[i]}", "This continues GO 1999.") for i in range(3)]
    known = [*followers, programme(1999, "Quite another first work")] if parent else followers
    first = "hst:1999" if parent else "hst:2000"
    assert pairs(*known) == {(first, one.proposal_id, "number") for one in followers if one.proposal_id != first}


def test_a_title_of_three_words_is_the_shortest_that_links_and_each_of_a_series_is_linked_to_the_first():
    three = [programme(i, f"Dark Sky Monitor Part {i}") for i in (1, 2, 3)]
    assert pairs(*three) == {("hst:1", "hst:2", "title"), ("hst:1", "hst:3", "title")}
    assert pairs(*(programme(i, f"Dark Monitor Part {i} of 3") for i in (1, 2))) == set()


def test_titles_that_are_placeholders_link_nothing():
    assert pairs(*(programme(i, "Title of proposal not available") for i in (1, 2))) == set()


def test_a_number_that_no_proposal_has_links_nothing():
    assert pairs(programme(1001, "One of many", "As in GO 5555 we see.", pi="A. Able")) == set()


def test_the_links_do_not_depend_on_the_order_of_the_proposals():
    proposals = [programme(i, f"Dark Sky Monitor Part {i}") for i in (1, 2, 3)]
    proposals += [
        programme(2000 + i, f"Work of its own number {'abc'[i]}", "This continues GO 1999 and 1998.") for i in range(3)
    ]
    one, other = (list(continuation_links({p.proposal_id: p for p in proposals[::step]})) for step in (1, -1))
    assert one == other
    assert len(one) == 6


def test_a_link_by_number_has_the_number_as_its_evidence():
    named = [programme(5555, "First", pi="A. Able"), programme(6666, "Other", "As in GO 5555.", pi="A. Able")]
    followed = [programme(2000 + i, f"Work of its own number {'ab'[i]}", "This continues GO 1999.") for i in range(2)]
    (by_name,) = continuation_links({p.proposal_id: p for p in named})
    (by_parent,) = continuation_links({p.proposal_id: p for p in followed})
    assert by_name.detail == "names 5555, same PI"
    assert by_parent.detail.endswith(" hst:1999")
