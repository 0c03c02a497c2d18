"""Real proposal files, and the layouts of older ones, through every parser: what they say is pinned by eye."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from hubbleclip.archives.stsci.parsers import ProposalText, parse_abstracts_cat, parse_apt
from hubbleclip.archives.stsci.program_listing import parse_listing
from hubbleclip.core.text_cleaning import clean_text, decode

DATA = Path(__file__).parents[2].parent / "shared/data"
PROPOSALS = DATA / "proposals"
pytestmark = [pytest.mark.real, pytest.mark.skipif(not DATA.is_dir(), reason=f"the real data at {DATA} are absent")]
URANUS = "Near-equinox spectro-imaging of Uranus aurorae sampling two planetary rotations"
URANUS_WORDS = ("A quarter of century after", "the spectral response of atmospheric species.")
CRAB = "Spectroscopy and Imaging of the Southern Crab Nebula"
SAMPLE = [
    ("10001", 12, "GO", "GALAXIES", "Philip Kaaret", "Locating Ultraluminous X-Ray Sources"),
    ("10210", 13, "GO", "COSMOLOGY", "R. Brent Tully", "Groups of Dwarf Galaxies: Pools of Mostly Dark Matter?"),
    (
        "10272",
        13,
        "GO",
        "STELLAR POPULATIONS",
        "Alex V. Filippenko",
        "A Snapshot Survey of the Sites of Recent, Nearby Supernovae",
    ),
    (
        "10474",
        14,
        "GO",
        "STELLAR POPULATIONS",
        "Gordon A. Drukier",
        "Shooting Stars: Looking for Direct Evidence of Massive Central Black Holes in Globular Clusters",
    ),
    ("10556", 14, "GO", None, "David A. Turnshek", "Neutral Gas at Redshift z=0.5"),
    (
        "11110",
        16,
        "GO",
        "ISM IN EXTERNAL GALAXIES",
        "Stephan McCandliss",
        "Searching for Lyman Apha Emission from FUSE Lyman Continuum Candidates",
    ),
    (
        "11219",
        16,
        "GO",
        "AGN/QUASARS",
        "Alessandro Capetti",
        "Active Galactic Nuclei in Nearby Galaxies: a New View of the Origin of the Radio-loud Radio-quiet Dichotomy?",
    ),
    (
        "11658",
        17,
        "GO",
        "QUASAR ABSORPTION LINES AND IGM",
        "David A. Turnshek",
        "Probing the Outer Regions of M31 with QSO Absorption Lines",
    ),
    ("12577", 19, "GO", "ISM AND CIRCUMSTELLAR MATTER", "Armin Rest", "Spectral Time Series of the Cas A Supernova"),
    ("13012", 20, "GO", None, "Laurent Lamy", URANUS),
    (
        "13757",
        22,
        "GO",
        "HOT STARS",
        "Saurabh W. Jha",
        "The Progenitor System of a Peculiar Thermonuclear White-Dwarf Supernova",
    ),
    (
        "14249",
        23,
        "GO",
        None,
        "Roberto Mignani",
        "The old pulsar PSR J0108-1431, a key target to understand the long-term evolution of neutron stars",
    ),
    (
        "14743",
        24,
        "GO",
        None,
        "Matt Nicholl",
        "Determining the explosion mechanism of a superluminous supernova through the deepest ever late-time study",
    ),
    (
        "15513",
        26,
        "GO",
        "Stellar Physics",
        "Kailash C. Sahu",
        "Detecting Isolated Black Holes through Astrometric Microlensing",
    ),
    ("15677", 26, "GO", None, "Max Mutchler", CRAB),
    ("17420", 31, "SNAP", None, "Boris T. Gaensicke", "A legacy survey for evolved planetary systems within 100pc"),
    (
        "6507",
        6,
        "GO",
        None,
        "Sylvia M. Baggett",
        "NGC 3664 - a case study of shock-induced propagation of star formation",
    ),
    ("7340", 7, "GO", "STELLAR EJECTA", "Jon Morse", "The Distribution of Heavy Elements in Supernova Ejecta"),
    (
        "7885",
        7,
        "GO",
        None,
        "Heidi Hammel",
        "Uranus Nearing Equinox: Vertical Aerosol Distribution of Atmospheric Structure",
    ),
    ("8781", 9, "GO", None, "Laurent Drissen", "NGC 2363 V1: a rare case of major LBV eruption"),
    ("9998", 12, "CAL/NIC", None, "Ralph Bohlin", "NICMOS Cycle 12 Grism Calibration and Standard Stars to 2.5microns"),
]


def sample() -> dict[str, ProposalText]:
    text = decode((PROPOSALS / "abstracts_sample.cat").read_bytes())
    return {record.number: record for record in parse_abstracts_cat(text)}


def test_the_heads_of_the_sample_are_exact() -> None:
    found = [(r.number, r.cycle, r.proposal_type, r.category, r.pi, r.title) for r in sample().values()]
    assert found == SAMPLE


def test_the_abstracts_of_the_sample_are_those_of_the_file() -> None:
    """A slow and obvious reading beside the parser's: what follows the first empty line, without any space."""
    chunks = (PROPOSALS / "abstracts_sample.cat").read_text(encoding="utf-8").split("-" * 79 + "\n")
    records = sample()
    for chunk in filter(str.strip, chunks):
        number = re.search(r"ID: +(\d+)", chunk)[1]
        plain = chunk.split("\n\n", 1)[1].replace("{", "(").replace("}", ")")
        abstract = records[number].abstract
        assert re.sub(r"\s", "", abstract) == re.sub(r"\s", "", plain)
        assert not re.search(r"[a-z]- (?!and|or)[a-z]", abstract), number


@pytest.mark.parametrize(
    ("number", "words"),
    [
        ("11219", "radio-loud/radio-quiet dichotomy is directly connected to the structure of the inner regions"),
        ("10272", "in cases where pre-explosion images exist in the HST archive."),
        ("6507", "in several ways. Spiral density waves and self-propagating SF are currentlybelieved"),
        ("7340", "young, oxygen-rich supernova remnants SN0540--69.3 in the LMC"),
        (
            "8781",
            "this star is a Luminous Blue variable (LBV) undergoing a major outburst.",
        ),
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
    assert (forms[0].abstract or "").startswith(URANUS_WORDS[0])
    assert (forms[0].abstract or "").endswith(URANUS_WORDS[1])


@pytest.mark.parametrize(
    ("name", "parse", "head", "words"),
    [
        (
            "hst_2007.apt.xml",
            parse_apt,
            ("Synthetic Title", None, 16, "GO/DD", None),
            ("Synthetic text", "breaks inside."),
        ),
        (
            "modern.list.txt",
            parse_listing,
            ("Synthetic Title", "First De Last", 16, "GO/DD", None),
            ("Synthetic text.", "Synthetic text."),
        ),
        (
            "mid_1995.pro.txt",
            parse_listing,
            ("Synthetic Mixed-Case Title--With TeX Dashes", "First Last", 5, "GO", "Stellar Populations"),
            ("Synthetic text.", "Synthetic text."),
        ),
        (
            "old_page1.pro.txt",
            parse_listing,
            (
                "SYNTHETIC TITLE IN CAPITALS (FOS 3): CYCLE 4 OBSERVATIONS",
                "E. margaret Lastname",
                None,
                "GTO/FOS",
                "QUASARS & AGN",
            ),
            ("Synthetic text with LaTeX residue: narrower,", '"quoted", 377.'),
        ),
        (
            "rps2.prop.txt",
            parse_listing,
            ("Synthetic Title That Goes On Over a Second, Indented Line", "First Last", 6, "GO", "HOT STARS"),
            ("Synthetic abstract text, indented", "a comment to the end of the line."),
        ),
        (
            "rpss.prop.txt",
            parse_listing,
            (
                "FIRST PART OF THE TITLE THAT IS CUT IN THE MIDDLE OF A WORD",
                "FIRST M LAST",
                None,
                "GTO/FOS",
                "QUASARS & AGN",
            ),
            ("Synthetic first abstract line", "the text simply goes on."),
        ),
    ],
)
def test_every_layout_is_read(
    name: str, parse: Callable[[bytes, str], ProposalText], head: tuple[object, ...], words: tuple[str, str]
) -> None:
    record = parse((PROPOSALS / "layouts" / name).read_bytes(), "11212")
    assert (record.title, record.pi, record.cycle, record.proposal_type, record.category) == head
    assert (record.abstract or "").startswith(words[0])
    assert (record.abstract or "").endswith(words[1])


def test_every_real_title_stays_as_it_is_but_for_spaces_braces_and_hyphens() -> None:
    lines = (PROPOSALS / "titles.tsv").read_text(encoding="utf-8").splitlines()[1:]
    for title in (line.split("\t")[3] for line in lines):
        kept = (clean_text(title) or "").replace(" ", "")
        assert kept == title.replace("{", "(").replace("}", ")").replace("''", '"').replace(" ", ""), title
