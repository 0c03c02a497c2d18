"""Texts of proposals, made readable; and that no text takes long or breaks anything."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubbleclip.archives.stsci.parsers import clean_category
from hubbleclip.core.errors import CONTROL
from hubbleclip.core.text_cleaning import MAX_CHARS, clean_name, clean_text


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
