"""Tables in pages of the documentation, each between two HTML comments with its name."""

from __future__ import annotations

from collections.abc import Mapping


def replace_tables(page: str, made: Mapping[str, str]) -> str:
    """Replace the tables of a page, each between two HTML comments with its name."""
    for name, table in made.items():
        start, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
        if page.count(start) != 1 or page.count(end) != 1:
            raise ValueError(f"the page has no place for the table {name!r}")
        page = f"{page.partition(start)[0]}{start}\n{table}\n{end}{page.partition(end)[2]}"
    return page
