"""Proposals, or captions of pictures, that the user gives as JSON lines.

One object per line; any key may be missing or null.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hubbleclip.archives.stsci.parsers import ProposalText
from hubbleclip.core.errors import SettingsError
from hubbleclip.core.text_cleaning import clean_cycle, clean_name, clean_number, clean_text


def read_proposal_rows(path: Path) -> dict[tuple[str, str], ProposalText]:
    """Read a JSON-lines file of proposals or captions.

    Parameters
    ----------
    path
        The file; bytes that are not UTF-8 are replaced.

    Returns
    -------
    dict
        Texts by (mission, number), because numbers repeat between missions; the mission is "" if the row names none.
        Of a repeated key the first row counts. Rows without a number match no file and are skipped.

    Raises
    ------
    SettingsError
        If a line is not a JSON object.

    """
    texts: dict[tuple[str, str], ProposalText] = {}
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line_number, line in enumerate(lines, start=1):
            row = _parse_line(line, path, line_number) if line.strip() else {}
            text = _proposal_of(row)
            if text.number:
                texts.setdefault((_text(row, "mission").upper(), text.number), text)
    return texts


def _parse_line(line: str, path: Path, line_number: int) -> dict[str, Any]:
    """Parse one JSON object. Raises SettingsError with the line number."""
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise SettingsError(f"{path}, line {line_number}: not JSON ({error.msg})") from error
    if not isinstance(row, dict):
        raise SettingsError(f"{path}, line {line_number}: not a JSON object")
    return row


def _text(row: dict[str, Any], *keys: str) -> str:
    """Return the first non-empty value of these keys, as text."""
    return next((str(row[key]).strip() for key in keys if row.get(key) not in (None, "")), "")


def _proposal_of(row: dict[str, Any]) -> ProposalText:
    """Clean the fields of one row."""
    return ProposalText(
        # "hst:13937" and "13937" name the same proposal
        number=clean_number(_text(row, "proposal_id", "number").rpartition(":")[2]) or _picture_name(row),
        cycle=clean_cycle(_text(row, "cycle")),
        proposal_type=clean_text(_text(row, "proposal_type")),
        category=clean_text(_text(row, "category")),
        title=clean_text(_text(row, "title")),
        pi=clean_name(_text(row, "pi")),
        abstract=clean_text(_text(row, "abstract", "caption")),
    )


def _picture_name(row: dict[str, Any]) -> str:
    """Return the `id` of a caption row: the name of its picture's file, which serves as the proposal number."""
    name = _text(row, "id")
    return clean_number(name) if name.isdigit() else name
