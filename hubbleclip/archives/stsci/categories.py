"""Scientific categories of proposals; STScI's bulk list truncates long ones."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from hubbleclip.core.text_cleaning import clean_text

CATEGORY_CHARS = 50
"""STScI's bulk list truncates categories to this length."""
CATEGORIES_FILE = Path(__file__).with_name("categories.txt")


@cache
def _long_categories() -> tuple[str, ...]:
    return tuple(CATEGORIES_FILE.read_text(encoding="utf-8").splitlines())


def clean_category(text: str | None) -> str | None:
    """A scientific category; one that was cut is completed where one known name goes on from it."""
    category = clean_text(text)
    if category is None or not CATEGORY_CHARS - 1 <= len(category) <= CATEGORY_CHARS:
        return category
    begun = category.casefold()
    found = {name for name in _long_categories() if name.casefold().startswith(begun) and len(name) > len(begun)}
    if len(found) != 1:
        return category
    rest = found.pop()[len(category) :]
    return category + (rest.upper() if category.isupper() else rest)
