"""Proposals, or captions of pictures, that a person gives as JSON lines: one object a line, any key may be missing or
null.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hubbleclip.archives.stsci.parsers import ProposalText
from hubbleclip.core.errors import SettingsError
from hubbleclip.core.text_cleaning import clean_cycle, clean_name, clean_number, clean_text


def read_proposal_rows(path: Path) -> dict[tuple[str, str], ProposalText]:
    """Proposals by (mission, number), as numbers repeat between missions; mission is '' where a row names none.

    Rows without a number match no file and are left out. Raises SettingsError for a line that is no JSON object.
    """
    found: dict[tuple[str, str], ProposalText] = {}
    with path.open(encoding="utf-8", errors="replace") as lines:
        for place, line in enumerate(lines, start=1):
            row = _parse_line(line, path, place) if line.strip() else {}
            text = _proposal_of(row)
            if text.number:
                found.setdefault((_text(row, "mission").upper(), text.number), text)
    return found


def _parse_line(line: str, path: Path, place: int) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise SettingsError(f"{path}, line {place}: not JSON ({error.msg})") from error
    if not isinstance(row, dict):
        raise SettingsError(f"{path}, line {place}: not a JSON object")
    return row


def _text(row: dict[str, Any], *keys: str) -> str:
    """The first of these keys that has a value, as text."""
    return next((str(row[key]).strip() for key in keys if row.get(key) not in (None, "")), "")


def _proposal_of(row: dict[str, Any]) -> ProposalText:
    return ProposalText(
        number=clean_number(_text(row, "proposal_id", "number").rpartition(":")[2]) or _own_name(row),
        cycle=clean_cycle(_text(row, "cycle")),
        proposal_type=clean_text(_text(row, "proposal_type")),
        category=clean_text(_text(row, "category")),
        title=clean_text(_text(row, "title")),
        pi=clean_name(_text(row, "pi")),
        abstract=clean_text(_text(row, "abstract", "caption")),
    )


def _own_name(row: dict[str, Any]) -> str:
    """What a row of captions calls its picture, whose file has that name."""
    name = _text(row, "id")
    return clean_number(name) if name.isdigit() else name
