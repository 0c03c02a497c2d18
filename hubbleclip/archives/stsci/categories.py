"""Clean the scientific categories of proposals, and complete the long names that STScI's bulk list truncates."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from hubbleclip.core.text_cleaning import clean_text

CATEGORY_CHARS = 50
"""Number of characters to which STScI's bulk list truncates categories."""
CATEGORIES_FILE = Path(__file__).with_name("categories.txt")
"""File of the categories that are longer than `CATEGORY_CHARS`, one per line."""


@cache
def _long_categories() -> tuple[str, ...]:
    """Read the full names of the categories that are longer than `CATEGORY_CHARS`."""
    return tuple(CATEGORIES_FILE.read_text(encoding="utf-8").splitlines())


def clean_category(text: str | None) -> str | None:
    """Clean the name of a scientific category, and complete it if exactly one known category begins with it."""
    category = clean_text(text)
    # a truncated name is one character shorter if it ended with a space, because cleaning removes the space
    if category is None or not CATEGORY_CHARS - 1 <= len(category) <= CATEGORY_CHARS:
        return category
    prefix = category.casefold()
    matches = {name for name in _long_categories() if name.casefold().startswith(prefix) and len(name) > len(prefix)}
    if len(matches) != 1:
        return category
    rest = matches.pop()[len(category) :]
    return category + (rest.upper() if category.isupper() else rest)
