"""A few characters of an id are enough where they mean one thing."""

import pytest

from hubbleclip.core.errors import HubbleclipError
from hubbleclip.core.id_prefixes import find_id

KNOWN = ["20240101-aa", "20240101-ab", "20240101-a", "2025"]


@pytest.mark.parametrize(
    ("start", "found"),
    [
        ("2025", "2025"),
        ("202", None),
        ("20240101-a", "20240101-a"),
        ("20240101-aa", "20240101-aa"),
        ("", None),
        ("1", None),
    ],
)
def test_an_id_is_found_by_its_only_beginning_and_an_equal_one_first(start: str, found: str | None) -> None:
    if found:
        assert find_id(start, KNOWN, kind="run", listed_by="hubbleclip runs") == found
        return
    with pytest.raises(HubbleclipError, match=r"run begins with|`hubbleclip runs` lists them"):
        find_id(start, KNOWN, kind="run", listed_by="hubbleclip runs")


def test_a_message_shows_a_few_of_many_ids() -> None:
    with pytest.raises(HubbleclipError, match=r"\(10, 11, 12, 13, \.\.\.\)"):
        find_id("1", [str(number) for number in range(10, 99)], kind="tile", listed_by="search")
