"""Scientific categories of proposals; STScI's bulk list truncates long ones."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from hubbleclip.core.text_cleaning import clean_text

CATEGORY_CHARS = 50
"""STScI's bulk list truncates categories to this length."""
CATEGORIES_FILE = Path(__file__).with_name("categories.txt")
"""The categories that are longer than that, one per line."""


@cache
def _long_categories() -> tuple[str, ...]:
    """Read the full names of the long categories."""
    return tuple(CATEGORIES_FILE.read_text(encoding="utf-8").splitlines())


def clean_category(text: str | None) -> str | None:
    """Clean a scientific category, and complete one that was truncated.

    Parameters
    ----------
    text
        The category as a source gives it.

    Returns
    -------
    str or None
        The category, in the letter case of the source; None for an empty one. A truncated name is completed if exactly
        one known category begins with it.

    """
    category = clean_text(text)
    # one character less: the cut may have left a space at the end, which cleaning removes
    if category is None or not CATEGORY_CHARS - 1 <= len(category) <= CATEGORY_CHARS:
        return category
    prefix = category.casefold()
    matches = {name for name in _long_categories() if name.casefold().startswith(prefix) and len(name) > len(prefix)}
    if len(matches) != 1:
        return category
    rest = matches.pop()[len(category) :]
    return category + (rest.upper() if category.isupper() else rest)
