"""Texts of proposals, made readable; and that no text takes long or breaks anything."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubbleclip.archives.stsci.parsers import clean_category
from hubbleclip.core.errors import CONTROL
from hubbleclip.core.text_cleaning import MAX_CHARS, clean_cycle, clean_name, clean_number, clean_text, decode


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("a &gt;&nbsp;b &amp;lt; c", "a > b < c"),
        ("10<SUP>6</SUP> stars<br>of <i>mass</i> <0.5 if x<a and y>b", "10^6 stars of mass <0.5 if x<a and y>b"),
        ("sizes {small} and i} large", "sizes (small) and i) large"),
        ("None", None),
        ("  \n ", None),
        (None, None),
        # words are mended across lines only where it is sure
        ("a self-\nconsistent pre-\n   explosion", "a self-consistent pre-explosion"),
        ("oxygen- rich, pre- and post-\nor mid-explosion", "oxygen-rich, pre- and post- or mid-explosion"),
        ("SN0540--\n69.3", "SN0540--69.3"),
        ("several ways.Spiral arms (dSph).We", "several ways. Spiral arms (dSph). We"),
        ("at astro.uni.De and M.Smith in F555W,F814W", "at astro.uni. De and M.Smith in F555W,F814W"),
        ("currentlybelieved", "currentlybelieved"),
        ("a dash -\nstays", "a dash - stays"),
        # LaTeX becomes letters
        (r"{\it narrower} and ``quoted'' \emph{text}", 'narrower and "quoted" text'),
        (
            r"G{\"o}ttingen, caf\'e, Erd\H{o}s, {\O}sted, {\c c}, {\'{\i}}, \"Opik",
            "Göttingen, café, Erdős, Østed, ç, í, Öpik",
        ),
        (r"{Caf\'e} and {Caf\'{e}}", "(Café) and (Café)"),
        (r"a \"Open\" word, it\'s, \`\`early''", 'a "Open" word, it\'s, "early"'),
        (r"H$\alpha$, $\Lambda$CDM, {$\xi_{ion}$}", "Hα, ΛCDM, (ξ_ion)"),
        (r"about $\sim$10$^{4}$ K, $10^{-1}$, R^{1/4}, CO$_2$", "about ~10^4 K, 10^-1, R^1/4, CO_2"),
        (r"M$_{\odot}$ at 30$^\circ$, 1\,Gyr, 5\% \& more\!", "M_sun at 30°, 1 Gyr, 5% & more!"),
        (r"11.6\pm1.4 $le$0.5 10\micron{} long", "11.6+/-1.4 <=0.5 10micron long"),
        (r"0\farcs05, 3\arcsec\ and 2\arcmin{}, \ion{C}{4} and \ion{Fe}{ii}", '0".05, 3" and 2\', C IV and Fe II'),
        ("{[}O III{]} and \\ion{Fe}{14}", "[O III] and Fe XIV"),
        (r"\\sim\$1\,Gyr", "~ 1 Gyr"),
        ("H$_\x07lpha$ emission", "H_α emission"),
        ("costs $5M-$10M or $5 and $10", "costs $5M-$10M or $5 and $10"),
        (r"an \unknown command", "an unknown command"),
        ("a\x00b\ud800c\u202ed\u200be\x7f\ufeff\u00ad it\x92s", "abcde it\u2019s"),
    ],
)
def test_entities_tags_braces_lines_and_latex_become_plain_text(raw: str | None, clean: str | None) -> None:
    assert clean_text(raw) == clean


def test_a_long_text_is_cut_at_a_space() -> None:
    assert len(clean_text("words " * 2_000_000) or "") == MAX_CHARS // 6 * 6 - 1
    assert len(clean_text("x" * 10_000_000) or "") == MAX_CHARS


def test_bytes_are_utf8_else_windows_1252_line_by_line() -> None:
    assert decode("Lyα é\n".encode()) == "Lyα é\n"
    assert decode("Lyα\n".encode() + b"caf\xe9 \x93q\x94\r\n") == "Lyα\ncafé “q”\r\n"


def test_names_numbers_and_cycles_are_cleaned() -> None:
    assert clean_name("Prof. Dr. Ada Lovelace") == "Ada Lovelace"
    assert [clean_number(text) for text in ("00123", "GO-6507", "none", "9" * 5000)] == ["123", "6507", "", ""]
    assert [clean_cycle(text) for text in ("Cycle 26", "", "9" * 5000, "4N")] == [26, None, None, 4]


def test_a_category_cut_at_50_characters_is_completed() -> None:
    full = "UNRESOLVED STELLAR POPULATIONS AND GALAXY STRUCTURE"
    assert clean_category(full[:50]) == full
    assert clean_category(full) == full
    assert clean_category("Intergalactic Medium and the Circumgalactic Medium") == (
        "Intergalactic Medium and the Circumgalactic Medium"
    )
    assert clean_category("X" * 50) == "X" * 50
    assert clean_category("None") is None


@given(st.text(max_size=300) | st.text(alphabet="{}\\$^_'\"`a &#;<>-\n\x07", max_size=200))
def test_cleaned_text_is_printable_with_single_spaces(text: str) -> None:
    assert is_clean(clean_text(text))


def is_clean(text: str | None) -> bool:
    (text or "").encode()  # no lone surrogate
    return (text is None or text == " ".join(text.split())) and not CONTROL.search(text or "")


HOSTILE = (
    *("{", "{\\it ", "{\\it" + " " * 50, "{\\'", "\\textit{", "^{", "\\", '\\"', "\\\\sim\\$"),  # commands of LaTeX
    *("$x", "$", "$\\"),  # formulas
    *("a-\n", "-\n \n", "- ", "word ", " "),  # words over lines
    *("<", "<i a=", "&", "&#9", "&amp;#9", "&" * 31),  # tags and entities
    *("Dr ", "a.B", "\x07", "\ud800"),
)


@pytest.mark.timeout(30)
@pytest.mark.parametrize("piece", HOSTILE)
def test_a_hostile_text_takes_no_longer_than_its_length_allows(piece: str) -> None:
    assert is_clean(clean_text(piece * (MAX_CHARS // len(piece))))
    assert is_clean(clean_name(piece * (2_000_000 // len(piece))))
    assert is_clean(clean_text("&#" + "&#99999999;" + "9" * 6000))
