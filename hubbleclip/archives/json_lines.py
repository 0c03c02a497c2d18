"""Reader of a user's file of proposals, or of captions of pictures.

The file has JSON lines, or is a CSV file in the format of open_clip. Each JSON line is an object, in which keys may be
missing or null.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TextIO

from hubbleclip.archives.base import proposal_id_of
from hubbleclip.archives.stsci.parsers import ProposalText, clean_proposal_text
from hubbleclip.core.errors import SettingsError
from hubbleclip.core.io import from_json, sha256_bytes
from hubbleclip.core.records import Proposal
from hubbleclip.core.text_cleaning import clean_number, without_zeros


def read_proposal_rows(path: Path) -> dict[tuple[str, str], ProposalText]:
    """Read the rows that have a number, by (mission, number). If several rows have the same key, the first is used.

    The mission is "" if a row has no mission. Raises SettingsError for a line that is not a JSON object.
    """
    texts: dict[tuple[str, str], ProposalText] = {}
    for mission, text in _read_rows(path):
        if text.number:
            texts.setdefault((mission, text.number), text)
    return texts


def read_proposals_file(path: Path, archive: str) -> list[Proposal]:
    """Read from a file the proposals that have an abstract.

    A missing number is replaced by a hash of the abstract, and a missing title by the abstract's first words.
    """
    if not path.is_file():
        raise SettingsError(f"archive.proposals_file {path} is not a file: correct the path")
    proposals: dict[str, Proposal] = {}
    for _, text in _read_rows(path):
        if text.abstract:
            number = text.number or f"text-{sha256_bytes(text.abstract.encode())[:12]}"
            proposal_id = proposal_id_of(archive, number)
            made = replace(text, number=number, title=text.title or " ".join(text.abstract.split()[:12]))
            proposals.setdefault(proposal_id, made.to_proposal(proposal_id, archive, path.name))
    return list(proposals.values())


def _read_rows(path: Path) -> Iterator[tuple[str, ProposalText]]:
    """Yield the mission and the proposal text of each row. A line that is not a JSON object raises SettingsError."""
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as lines:
        try:
            for row in _read_csv(lines) if path.suffix in {".csv", ".tsv"} else _read_json(lines):
                yield _text(row, "mission").upper(), _proposal_of(row)
        except (ValueError, csv.Error) as error:
            raise SettingsError(f"{path}, {error}") from error


def _read_csv(lines: TextIO) -> Iterator[dict[str, Any]]:
    """Yield the rows of a CSV file of open_clip: columns `filepath` and `title` (the caption) below a header line."""
    delimiter = "\t" if "\t" in lines.readline() else ","
    lines.seek(0)
    rows = csv.DictReader(lines, delimiter=delimiter)
    names = set(rows.fieldnames or ())
    if names.isdisjoint({"filepath", "id", "number", "proposal_id"}) or names.isdisjoint(
        {"title", "caption", "abstract"}
    ):
        raise ValueError("line 1: the names of the columns must be filepath and title")
    known: dict[str, dict[str, Any]] = {}
    for row in rows:
        number = Path(row.get("filepath") or "").stem
        has_id = any(row.get(name) for name in ("id", "number", "proposal_id"))
        first = known.setdefault(number, row) if number and not has_id else row
        if first.get("filepath") != row.get("filepath") and first.get("title") != row.get("title"):
            raise ValueError(
                f"line {rows.line_num}: two pictures have the name {number!r} but different titles: rename one of them"
            )
        yield {"id": number, "caption": row.get("title")} | {name: value for name, value in row.items() if value}


def _read_json(lines: TextIO) -> Iterator[dict[str, Any]]:
    """Yield the objects of JSON lines; raises ValueError for a line that is not a JSON object."""
    for line_number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                row = from_json(line)
            except ValueError as error:
                raise ValueError(f"line {line_number}: not JSON ({error})") from error
            if not isinstance(row, dict):
                raise ValueError(f"line {line_number}: not a JSON object")
            yield row


def _text(row: dict[str, Any], *keys: str) -> str:
    """Return the first value under `keys` that is not empty, as stripped text; "" if all values are empty."""
    return next((str(row[key]).strip() for key in keys if row.get(key) not in (None, "")), "")


def _proposal_of(row: dict[str, Any]) -> ProposalText:
    """Convert one row of the file to a proposal text with cleaned fields."""
    # "hst:13937" and "13937" name the same proposal; the `id` of a caption row is the picture's file name
    number = clean_number(_text(row, "proposal_id", "number").rpartition(":")[2]) or without_zeros(_text(row, "id"))
    values = {name: _text(row, name) for name in ("cycle", "proposal_type", "category", "title", "pi")}
    text = clean_proposal_text(values | {"abstract": _text(row, "abstract", "caption")})
    return replace(text, number=number)
