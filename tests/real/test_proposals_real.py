"""Real proposal files, and the layouts of older ones, through every parser: what they say is pinned by eye."""

from __future__ import annotations

from pathlib import Path

import pytest

from hubbleclip.archives.stsci.parsers import ProposalText, parse_abstracts_cat, parse_apt
from hubbleclip.archives.stsci.program_listing import parse_listing
from hubbleclip.core.text_cleaning import clean_text, decode

DATA = Path(__file__).parents[2].parent / "shared/data"
PROPOSALS = DATA / "proposals"
pytestmark = [pytest.mark.real, pytest.mark.skipif(not DATA.is_dir(), reason=f"the real data at {DATA} are absent")]
URANUS = "Near-equinox spectro-imaging of Uranus aurorae sampling two planetary rotations"


def sample() -> dict[str, ProposalText]:
    text = decode((PROPOSALS / "abstracts_sample.cat").read_bytes())
    return {record.number: record for record in parse_abstracts_cat(text)}


@pytest.mark.parametrize(
    ("number", "words"),
    [
        ("11219", "radio-loud/radio-quiet dichotomy is directly connected to the structure of the inner regions"),
        ("10272", "in cases where pre-explosion images exist in the HST archive."),
        ("6507", "in several ways. Spiral density waves and self-propagating SF are currentlybelieved"),
        ("7340", "young, oxygen-rich supernova remnants SN0540--69.3 in the LMC"),
        ("8781", "this star is a Luminous Blue variable (LBV) undergoing a major outburst."),
        ("15677", "Nebula (also known as WRAY-16-47 and Hen 2-104) with four narrowband filters"),
    ],
)
def test_words_of_the_sample_are_mended(number: str, words: str) -> None:
    assert words in (sample()[number].abstract or "")


def test_the_programme_says_the_same_in_each_of_its_forms() -> None:
    forms = [
        parse_apt((PROPOSALS / "13012.apt").read_bytes(), "13012"),
        parse_listing((PROPOSALS / "13012.pro").read_bytes(), "13012"),
        sample()["13012"],
    ]
    for form in forms:
        assert (form.title, form.pi, form.cycle, form.proposal_type) == (URANUS, "Laurent Lamy", 20, "GO")
        assert form.category is None
        assert form.abstract == forms[0].abstract
    assert (forms[0].abstract or "").startswith("A quarter of century after")
    assert (forms[0].abstract or "").endswith("the spectral response of atmospheric species.")


LAYOUTS = {
    "hst_2007.apt.xml": ("Synthetic Title", None, 16, "GO/DD", None, "Synthetic text", "breaks inside."),
    "modern.list.txt": ("Synthetic Title", "First De Last", 16, "GO/DD", None, "Synthetic text.", "Synthetic text."),
    "mid_1995.pro.txt": (
        *("Synthetic Mixed-Case Title--With TeX Dashes", "First Last", 5, "GO", "Stellar Populations"),
        *("Synthetic text.", "Synthetic text."),
    ),
    "old_page1.pro.txt": (
        *("SYNTHETIC TITLE IN CAPITALS (FOS 3): CYCLE 4 OBSERVATIONS", "E. margaret Lastname", None, "GTO/FOS"),
        *("QUASARS & AGN", "Synthetic text with LaTeX residue: narrower,", '"quoted", 377.'),
    ),
    "rps2.prop.txt": (
        *("Synthetic Title That Goes On Over a Second, Indented Line", "First Last", 6, "GO", "HOT STARS"),
        *("Synthetic abstract text, indented", "a comment to the end of the line."),
    ),
    "rpss.prop.txt": (
        *("FIRST PART OF THE TITLE THAT IS CUT IN THE MIDDLE OF A WORD", "FIRST M LAST", None, "GTO/FOS"),
        *("QUASARS & AGN", "Synthetic first abstract line", "the text simply goes on."),
    ),
}
"""Title, investigator, cycle, type and category by layout, and the start and the end of the abstract."""


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_is_read(name: str) -> None:
    *head, start, end = LAYOUTS[name]
    parse = parse_apt if name.endswith(".xml") else parse_listing
    record = parse((PROPOSALS / "layouts" / name).read_bytes(), "11212")
    assert [record.title, record.pi, record.cycle, record.proposal_type, record.category] == head
    assert (record.abstract or "").startswith(start)
    assert (record.abstract or "").endswith(end)


def test_every_real_title_stays_as_it_is_but_for_spaces_braces_and_hyphens() -> None:
    lines = (PROPOSALS / "titles.tsv").read_text(encoding="utf-8").splitlines()[1:]
    for title in (line.split("\t")[3] for line in lines):
        kept = (clean_text(title) or "").replace(" ", "")
        assert kept == title.replace("{", "(").replace("}", ")").replace("''", '"').replace(" ", ""), title
