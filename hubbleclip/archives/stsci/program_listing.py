"""Reading the text listings of programmes: printed ones (`.pro`, 1994 to today) and forms sent in (`.prop`).

Pure functions. A printed listing is blocks between dashed lines, each under its heading, several headings side by side
over their columns; a form is keys and values.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

from hubbleclip.archives.stsci.parsers import ProposalText, text_of
from hubbleclip.core.errors import ArchiveError
from hubbleclip.core.text_cleaning import HONORIFIC, clean_number, decode

MAX_LISTING_CHARS = 1_000_000
"""A listing is mostly exposures; what tells of the proposal stands on its first pages."""
HEADINGS = {"title": "title", "proposal title": "title", "abstract": "abstract", "cycle": "cycle",
            "type": "proposal_type", "proposal for": "proposal_type", "scientific category": "category",
            "principal investigator": "pi", "investigators": "investigators"}  # fmt: skip
DASHES = re.compile(r"-{40,}\s*")
PAGE_HEAD = re.compile(r"\s+(?:\S+\( *\d+\) - .* - \[ *\d+\]|Page +\d+)\s*")
CELL = re.compile(r"\S+(?: \S+)*")
ITEM = re.compile(r"\d+\. ?")
OWN_NUMBER = re.compile(r"(?:OBSERVING PROGRAM|^ +ID:?) +([0-9]+)\s*$", re.MULTILINE)
COMMENT = re.compile(r"(?:^|(?<=\s))!.*")
FORM_KEY = re.compile(r"\s*(\w+):(?!\S)(.*)")
RPS2_KEYS = {"title": "title", "proposal_category": "proposal_type", "scientific_category": "category",
             "cycle": "cycle", "pi_name": "pi", "abstract": "abstract"}  # fmt: skip
RPSS_TITLE_CHARS = 57
"""The form cuts a title into parts of so many characters, also in the middle of a word."""

Values = dict[str, str]


def parse_listing(data: bytes, number: str) -> ProposalText:
    """A programme's listing, of any year. Raises ArchiveError for what is none, or that of another programme."""
    text = decode(data)[:MAX_LISTING_CHARS]
    told = OWN_NUMBER.search(text)
    if told is not None and clean_number(told[1]) != number:
        raise ArchiveError(f"the listing of proposal {number} is that of {told[1][:20]}")
    for mark, read in LAYOUTS:
        if mark.search(text) is not None:
            record = text_of(read(text.splitlines()) | {"number": number})
            if record.title is not None:
                return record
    raise ArchiveError(f"the listing of proposal {number} has no title")


def _read_printed(lines: list[str]) -> Values:
    """The printed listings of all years."""
    values: Values = {}
    for block in _blocks(lines):
        for place, line in enumerate(block):
            columns = [(cell.start(), _heading(cell[0])) for cell in CELL.finditer(line)]
            if columns and columns[0][1]:
                _read_block(columns, block[place + 1 :], values)
                break
    return values


def _blocks(lines: Iterable[str]) -> Iterator[list[str]]:
    """What stands between dashed lines, without the heads of pages."""
    block: list[str] = []
    for line in lines:
        if DASHES.fullmatch(line):
            yield block
            block = []
        elif not PAGE_HEAD.fullmatch(line):
            block.append(line)
    yield block


def _heading(cell: str) -> str | None:
    """The field under a heading such as `1.Proposal Title:` or `4. Cycle`."""
    return HEADINGS.get(ITEM.sub("", cell, count=1).rstrip(":").strip().lower())


def _read_block(columns: list[tuple[int, str | None]], body: list[str], values: Values) -> None:
    """Put what stands under the headings into `values`, where it stays if it is there already."""
    field = columns[0][1]
    if field == "investigators":
        people = (line.strip().removeprefix("PI:") for line in body if line.strip().startswith("PI:"))
        values.setdefault("pi", next((cell[0] for line in people for cell in CELL.finditer(line)), ""))
    elif field in {"title", "abstract"}:
        values.setdefault(field, "\n".join(body))
    else:
        for cell in CELL.finditer(next((line for line in body if line.strip()), "")):
            under = [name for start, name in columns if start <= cell.start()][-1:]
            for name in filter(None, under):
                values.setdefault(name, cell[0])


def _read_rps2(lines: list[str]) -> Values:
    """The form of 1995: `Key: value`, gone on with on indented lines; `!` after a space comments a line out."""
    values: dict[str, list[str]] = {}
    field = ""
    for line in lines:
        bare = COMMENT.sub("", line)
        key = FORM_KEY.fullmatch(bare)
        is_prose = field == "abstract" and bare[:1].isspace()
        if key is not None and not is_prose:
            field = RPS2_KEYS.get(key[1].lower(), "")
            values.setdefault(field, []).append(key[2])
        elif bare.strip() and not bare[0].isspace():
            field = ""
        else:
            values.setdefault(field, []).append(bare)
    return {name: "\n".join(parts) for name, parts in values.items() if name}


def _read_rpss(lines: list[str]) -> Values:
    """The form of before 1995: a block is a name at the left edge, then `key_1: value` indented, to the next one."""
    found: dict[str, list[str]] = {}
    block = ""
    for line in lines:
        key = FORM_KEY.fullmatch(line)
        if key is not None and not line[0].isspace():
            block = key[1].lower()
        elif key is not None:
            name = re.sub(r"_\d+$", "", key[1].lower())
            found.setdefault(f"{block}.{name}", []).append(key[2].strip())

    def told(key: str) -> str:
        return " ".join(found.get(key, []))

    parts = (part if len(part) >= RPSS_TITLE_CHARS else f"{part} " for part in found.get("coverpage.title", []))
    names = (told(f"coverpage.pi_{part}") for part in ("fname", "mi", "lname"))
    return {
        "title": "".join(parts),
        "category": told("coverpage.sci_cat"),
        "proposal_type": told("coverpage.proposal_for"),
        "pi": HONORIFIC.sub("", " ".join(filter(None, names))),
        "abstract": "\n".join(found.get("abstract.line", [])),
    }


LAYOUTS: tuple[tuple[re.Pattern[str], Callable[[list[str]], Values]], ...] = (
    (re.compile(r"^coverpage:", re.MULTILINE), _read_rpss),
    (re.compile(r"^Proposal_Information\b", re.MULTILINE), _read_rps2),
    (re.compile(r"^ *(?:\d+\. ?)?(?:Proposal )?Title:?\s*$", re.MULTILINE), _read_printed),
)
