"""Parsers of programmes' text listings: printed listings (`.pro`, 1994 to today) and submitted forms (`.prop`).

The functions are pure. A printed listing consists of blocks between dashed lines. A block has one heading, or several
headings side by side, each above a column. A form consists of keys and values.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

from hubbleclip.archives.stsci.parsers import ProposalText, clean_proposal_text
from hubbleclip.core.errors import ArchiveError
from hubbleclip.core.text_cleaning import HONORIFIC, clean_number, decode

MAX_LISTING_CHARS = 1_000_000
"""Number of characters of a listing that are parsed; the rest is ignored. The proposal's texts are on the first pages,
and the rest of a listing describes exposures.
"""
HEADINGS = {
    "title": "title",
    "proposal title": "title",
    "abstract": "abstract",
    "cycle": "cycle",
    "type": "proposal_type",
    "proposal for": "proposal_type",
    "scientific category": "category",
    "principal investigator": "pi",
    "investigators": "investigators",
}
"""Field of ProposalText, by the heading in a printed listing."""
DASHES = re.compile(r"-{40,}\s*")
# a page header is a line such as "   5054( 6) - 11/21/95 09:03 - [  1]" or "   Page 2"
PAGE_HEADER = re.compile(r"\s+(?:\S+\( *\d+\) - .* - \[ *\d+\]|Page +\d+)\s*")
CELL = re.compile(r"\S+(?: \S+)*")  # text of one column; columns are at least two spaces apart
ITEM = re.compile(r"\d+\. ?")  # the number before a heading, such as "1." in "1.Proposal Title:"
NUMBER_IN_LISTING = re.compile(r"(?:OBSERVING PROGRAM|^ +ID:?) +([0-9]+)\s*$", re.MULTILINE)
COMMENT = re.compile(r"(?:^|(?<=\s))!.*")  # "!" begins a comment only at the start of a line or after a space
FORM_KEY = re.compile(r"\s*(\w+):(?!\S)(.*)")
RPS2_KEYS = {
    "title": "title",
    "proposal_category": "proposal_type",
    "scientific_category": "category",
    "cycle": "cycle",
    "pi_name": "pi",
    "abstract": "abstract",
}
"""Field of ProposalText, by the key in the form of RPS2 (Remote Proposal Submission 2, 1995)."""
RPSS_TITLE_CHARS = 57
"""Maximum number of characters per line of a title in the form of RPSS (before RPS2). A line may end within a word."""

Values = dict[str, str]


def parse_listing(data: bytes, number: str) -> ProposalText:
    """Parse a text listing of any year; ArchiveError if it has no title, or belongs to another programme."""
    text = decode(data)[:MAX_LISTING_CHARS]
    listing_number = NUMBER_IN_LISTING.search(text)
    if listing_number is not None and clean_number(listing_number[1]) != number:
        raise ArchiveError(f"the listing of proposal {number} belongs to proposal {listing_number[1][:20]}")
    for signature, parse in LAYOUTS:
        if signature.search(text) is not None:
            record = clean_proposal_text(parse(text.splitlines()) | {"number": number})
            if record.title is not None:
                return record
    raise ArchiveError(f"the listing of proposal {number} has no title")


def _read_printed(lines: list[str]) -> Values:
    """Parse the lines of a printed listing into raw text by field."""
    values: Values = {}
    for block in _blocks(lines):
        for index, line in enumerate(block):
            names = ((cell.start(), ITEM.sub("", cell[0], count=1).rstrip(":").strip()) for cell in CELL.finditer(line))
            columns = [(start, HEADINGS.get(name.lower())) for start, name in names]
            if columns and columns[0][1]:  # the line with the block's headings: it begins with a known heading
                _read_block(columns, block[index + 1 :], values)
                break
    return values


def _blocks(lines: Iterable[str]) -> Iterator[list[str]]:
    """Split the lines of a printed listing into blocks at dashed lines. The headers of printed pages are dropped."""
    block: list[str] = []
    for line in lines:
        if DASHES.fullmatch(line):
            yield block
            block = []
        elif not PAGE_HEADER.fullmatch(line):
            block.append(line)
    yield block


def _read_block(columns: list[tuple[int, str | None]], body: list[str], values: Values) -> None:
    """Add the texts below the headings of a block to `values`. A field that already has a text is not changed.

    `columns` has the character position and the field of each heading. `body` has the lines below the headings.
    """
    field = columns[0][1]
    if field == "investigators":
        people = (line.strip().removeprefix("PI:") for line in body if line.strip().startswith("PI:"))
        values.setdefault("pi", next((cell[0] for line in people for cell in CELL.finditer(line)), ""))
    elif field in {"title", "abstract"}:
        values.setdefault(field, "\n".join(body))
    else:
        for cell in CELL.finditer(next((line for line in body if line.strip()), "")):
            # a cell belongs to the rightmost heading that begins at or before the start of the cell
            column = [name for start, name in columns if start <= cell.start()][-1:]
            for name in filter(None, column):
                values.setdefault(name, cell[0])


def _read_rps2(lines: list[str]) -> Values:
    """Parse the lines of an RPS2 form (1995) into raw text by field.

    The form has lines of `Key: value`, which may continue on indented lines. A `!` after a space begins a comment.
    """
    values: dict[str, list[str]] = {}
    field = ""
    for line in lines:
        bare = COMMENT.sub("", line)
        key = FORM_KEY.fullmatch(bare)
        # an indented line of the abstract may look like a key, such as "Result: ..."
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
    """Parse the lines of an RPSS form (before 1995) into raw text by field.

    The form consists of blocks. A block has its name at the left margin, then indented lines of `key_1: value`.
    """
    values: dict[str, list[str]] = {}
    block = ""
    for line in lines:
        key = FORM_KEY.fullmatch(line)
        if key is not None and not line[0].isspace():
            block = key[1].lower()
        elif key is not None:
            name = re.sub(r"_\d+$", "", key[1].lower())
            values.setdefault(f"{block}.{name}", []).append(key[2].strip())

    def joined(key: str) -> str:
        return " ".join(values.get(key, []))

    # a title line shorter than RPSS_TITLE_CHARS was broken between two words, so a space is added to it
    parts = (part if len(part) >= RPSS_TITLE_CHARS else f"{part} " for part in values.get("coverpage.title", []))
    names = (joined(f"coverpage.pi_{part}") for part in ("fname", "mi", "lname"))
    return {
        "title": "".join(parts),
        "category": joined("coverpage.sci_cat"),
        "proposal_type": joined("coverpage.proposal_for"),
        "pi": HONORIFIC.sub("", " ".join(filter(None, names))),
        "abstract": "\n".join(values.get("abstract.line", [])),
    }


LAYOUTS: tuple[tuple[re.Pattern[str], Callable[[list[str]], Values]], ...] = (
    (re.compile(r"^coverpage:", re.MULTILINE), _read_rpss),
    (re.compile(r"^Proposal_Information\b", re.MULTILINE), _read_rps2),
    (re.compile(r"^ *(?:\d+\. ?)?(?:Proposal )?Title:?\s*$", re.MULTILINE), _read_printed),
)
"""Layouts of listings in the order in which they are tried: a pattern that identifies the layout, and its parser."""
