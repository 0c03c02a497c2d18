"""Parsers of STScI's proposal files: the bulk list, XML of the Astronomer's Proposal Tool (APT), and web pages.

The functions are pure. They accept the layouts of 2025-26 and all older layouts, and therefore require only elements
that the files of all years have. Text listings are parsed in `program_listing.py`.
"""

from __future__ import annotations

import io
import lzma
import re
import xml.etree.ElementTree as ET
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from functools import cache, reduce
from pathlib import Path

from bs4 import BeautifulSoup
from bs4.element import NavigableString, Tag
from bs4.exceptions import ParserRejectedMarkup

from hubbleclip.archives.http.responses import PAGE_BYTES
from hubbleclip.core.errors import ArchiveError
from hubbleclip.core.records import Proposal
from hubbleclip.core.text_cleaning import INVISIBLE, clean_cycle, clean_name, clean_number, clean_text, decode

BULK_KEYS = {
    "prop. type": "proposal_type",
    "category": "category",
    "id": "number",
    "cycle": "cycle",
    "title": "title",
    "pi": "pi",
}
"""Field of ProposalText, by the key before the colon in `abstracts.cat`."""
PAGE_LABELS = {
    "title": "title",
    "cycle": "cycle",
    "principal investigator": "pi",
    "pi": "pi",
    "category": "category",
    "scientific category": "category",
    "program type": "proposal_type",
    "prop. type": "proposal_type",
    "proposal category": "proposal_type",
}
"""Field of ProposalText, by the label on a programme's web page."""
# On a programme's page, elements in LABEL_TAGS contain the labels, and a value ends at an element in BREAKS
LABEL_TAGS = frozenset({"b", "strong", "th", "dt", "label"})
BREAKS = frozenset({"br", "p", "div", "tr", "td", "th", "dt", "dd", "li", "table", "h1", "h2", "h3"})
DASHED_LINE = "-----"
"""Start of the line that separates two records of `abstracts.cat`. The length of this line differs between versions."""
XML_DECLARATION = re.compile(r"\A\s*<\?xml[^>]*\?>")
STRAY_BRACKET = re.compile(r"<(?![^<>]{0,2000}>)")
"""Pattern of a bracket "<" that opens no tag. Such brackets are escaped, because Python's HTML parser takes quadratic
time if a page has many of them.
"""
MAX_PAGE_BYTES = 100_000
"""Number of bytes of a web page that are parsed; the rest is ignored. A programme's page has about 10,000 bytes."""
MAX_APT_TAGS = 400_000
"""Largest number of tags of an APT file; a file of 200 kB has 1,100. A tag takes about 300 bytes of memory."""
ZIP_START = b"PK\x03\x04"

CATEGORY_CHARS = 50
"""Number of characters to which STScI's bulk list truncates categories."""
CATEGORIES_FILE = Path(__file__).with_name("categories.txt")
"""File of the categories that are longer than `CATEGORY_CHARS`, one per line."""
RawRecord = dict[str, str]
"""Uncleaned texts of one record of the bulk list, by field of ProposalText."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposalText:
    """The cleaned fields of a proposal from one source. A field that is missing in the source is None."""

    number: str
    cycle: int | None = None
    proposal_type: str | None = None
    category: str | None = None
    title: str | None = None
    pi: str | None = None
    abstract: str | None = None

    def to_proposal(self, proposal_id: str, archive: str, source: str, provenance: str | None = None) -> Proposal:
        """Make the proposal's record. The title must not be None."""
        facts = asdict(self) | {"provenance": provenance, "fetched_at": datetime.now(UTC)}
        return Proposal(proposal_id=proposal_id, archive=archive, source=source, **facts)


def clean_proposal_text(values: Mapping[str, str]) -> ProposalText:
    """Clean the raw text of each field of a proposal; a missing or empty text becomes None."""
    return ProposalText(
        number=clean_number(values.get("number")),
        cycle=clean_cycle(values.get("cycle")),
        proposal_type=clean_text(values.get("proposal_type")),
        category=clean_category(values.get("category")),
        title=clean_text(values.get("title")),
        pi=clean_name(values.get("pi")),
        abstract=clean_text(values.get("abstract")),
    )


@cache
def _long_categories() -> tuple[str, ...]:
    """Read the full names of the categories that are longer than `CATEGORY_CHARS`."""
    return tuple(CATEGORIES_FILE.read_text(encoding="utf-8").splitlines())


def clean_category(text: str | None) -> str | None:
    """Clean the name of a category. A truncated name is completed if exactly one known category begins with it."""
    category = clean_text(text)
    # if the last character of a truncated name was a space, cleaning leaves CATEGORY_CHARS - 1 characters
    if category is None or not CATEGORY_CHARS - 1 <= len(category) <= CATEGORY_CHARS:
        return category
    prefix = category.casefold()
    matches = {name for name in _long_categories() if name.casefold().startswith(prefix) and len(name) > len(prefix)}
    if len(matches) != 1:
        return category
    rest = matches.pop()[len(category) :]
    return category + (rest.upper() if category.isupper() else rest)


def parse_abstracts_cat(text: str) -> list[ProposalText]:
    """Parse the bulk list `abstracts.cat`."""
    return [parse_records(records) for records in index_abstracts_cat(text).values()]


def index_abstracts_cat(text: str) -> dict[str, list[RawRecord]]:
    """Group the records of the bulk list by proposal number. Texts are not cleaned, because cleaning is slow."""
    records: defaultdict[str, list[RawRecord]] = defaultdict(list)
    for lines in _records(text.splitlines()):
        record = _parse_record(lines)
        if number := clean_number(record.get("number")):
            records[number].append(record)
    return dict(records)


def parse_records(records: Iterable[RawRecord]) -> ProposalText:
    """Merge a proposal's records: the record with the longest abstract gets its missing fields from other records."""
    return reduce(_merge_two, map(clean_proposal_text, records))


def _merge_two(one: ProposalText, other: ProposalText) -> ProposalText:
    """Choose the text with the longer abstract, and return it with missing fields filled from the other text."""
    if len(other.abstract or "") > len(one.abstract or ""):
        one, other = other, one
    return replace(one, **{f.name: getattr(other, f.name) for f in fields(one) if getattr(one, f.name) is None})


def _records(lines: Iterable[str]) -> Iterator[list[str]]:
    """Group the lines of the bulk list by record.

    A record ends at a dashed line only if the next line of text begins with `Prop. Type:`, because an abstract may
    contain dashed lines.
    """
    record: list[str] = []
    pending: list[str] = []
    for line in lines:
        if line.startswith(DASHED_LINE):
            record += pending
            pending = []
        elif not pending and line.lower().startswith("prop. type:") and record:
            yield record
            record, pending = [], [line]
        elif line.strip() or pending:
            pending.append(line)
    yield record + pending


def _parse_record(lines: list[str]) -> RawRecord:
    """Parse one record of the bulk list into raw text by field.

    A record has keys with values, which may continue on the next line, then an empty line, then the abstract.
    """
    values: dict[str, list[str]] = {}
    field = ""
    abstract_start = len(lines)
    for index, line in enumerate(lines):
        key, _, value = line.partition(":")
        new_field = None if line[:1].isspace() else BULK_KEYS.get(key.strip().lower())
        # PI is the last key; in some records the abstract follows without an empty line
        if not line.strip() or (field == "pi" and new_field is None and not line[0].isspace()):
            abstract_start = index
            break
        field = new_field or field
        values.setdefault(field, []).append(value if new_field else line)
    fields_text = {name: "\n".join(parts) for name, parts in values.items()}
    return fields_text | {"abstract": "\n".join(lines[abstract_start:])}


def parse_apt(data: bytes, number: str) -> ProposalText:
    """Parse a programme's APT file of any year; ArchiveError if it is no APT file, or belongs to another programme."""
    root = _read_xml(_apt_xml(data, number), number)
    for element in root.iter():  # the namespace in JWST's files is removed; Hubble's files have no namespace
        element.tag = str(element.tag).rpartition("}")[2]
    file_number = root.get("Phase2ID", "") or _content(root, ".//ProposalInformation/ProposalID")
    if file_number.isdecimal() and clean_number(file_number) != number:
        raise ArchiveError(f"the APT file of proposal {number} belongs to proposal {file_number[:20]}")
    info = root if root.tag == "ProposalInformation" else root.find(".//ProposalInformation")
    if info is None:
        raise ArchiveError(f"the APT file of proposal {number} has no ProposalInformation")
    pi = info.find("PrincipalInvestigator")
    parts = ("FirstName", "MiddleInitial", "LastName", "Suffix")
    names = [pi.get(part, "") or _content(pi, f".//{part}") for part in parts] if pi is not None else []
    # in JWST's files the proposal type is the name of an element: `<ProposalCategory><GO/></ProposalCategory>`
    types = [element.tag for element in info.findall("ProposalCategory/*")]
    values = {
        "number": number,
        "cycle": info.get("Cycle", "") or _content(info, "Cycle"),
        "proposal_type": info.get("Category", "") or "".join(types[:1]),
        "category": info.get("ScientificCategory", "") or _content(info, "ScientificCategory"),
        "title": _content(info, "Title"),
        "pi": " ".join(part for part in names if part),
        "abstract": _content(info, "Abstract"),
    }
    return clean_proposal_text(values)


def _apt_xml(data: bytes, number: str) -> bytes:
    """Return the XML of an APT file. Hubble's APT files are XML; JWST's APT files are zip archives with one XML file.

    Raises ArchiveError if a zip archive is damaged, has no XML file, or has an XML file that is too large.
    """
    if not data.startswith(ZIP_START):
        return data
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            member = next((item for item in archive.infolist() if item.filename.endswith(".xml")), None)
            if member is None or member.file_size > PAGE_BYTES:
                raise ArchiveError(f"the APT file of proposal {number} has no XML of at most {PAGE_BYTES} bytes")
            return archive.read(member)
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, RuntimeError) as error:
        raise ArchiveError(f"the APT file of proposal {number} is a damaged zip archive ({error})") from error


def _read_xml(data: bytes, number: str) -> ET.Element:
    """Parse XML and return the root. Control characters and a wrong encoding declaration are tolerated.

    Untrusted XML is safe to parse: expat 2.4.1 and later reject entity expansion attacks and load no external entities.
    """
    if data.count(b"<") > MAX_APT_TAGS:
        raise ArchiveError(f"the APT file of proposal {number} has more than {MAX_APT_TAGS} tags")
    try:
        return ET.fromstring(data)  # noqa: S314 - safe, see the docstring
    except (ET.ParseError, LookupError, ValueError):
        text = XML_DECLARATION.sub("", INVISIBLE.sub("", decode(data)), count=1)
    # the XML declaration was removed, because the parser rejects a str that declares an encoding
    try:
        return ET.fromstring(text)  # noqa: S314 - safe, see the docstring
    except (ET.ParseError, ValueError) as error:
        raise ArchiveError(f"the APT file of proposal {number} is not XML ({error})") from error


def _content(info: ET.Element, name: str) -> str:
    """Return the text of the element at path `name` and of all its descendants; "" if there is no such element."""
    child = info.find(name)
    return "" if child is None else "".join(child.itertext())


def parse_program_page(data: bytes, number: str) -> ProposalText:
    """Parse a programme's web page, on which each value follows its label in bold; ArchiveError if it has no title."""
    texts: dict[str, list[str]] = {"number": [number]}
    field: str | None = None
    for node in _read_html(data, f"proposal {number}").descendants:
        if isinstance(node, Tag):
            # a value ends at the first line break or block element after some text
            is_complete = field is not None and any(map(str.strip, texts[field])) and node.name in BREAKS
            field = None if is_complete else field
        elif type(node) is NavigableString:  # isinstance would also accept HTML comments (subclasses)
            is_label = node.parent is not None and node.parent.name in LABEL_TAGS
            label = PAGE_LABELS.get(node.strip(": \r\n\t").lower()) if is_label else None
            if label is not None:
                field = None if label in texts else label  # only the first value of a field is used
                texts.setdefault(label, [])
            elif field is not None:
                texts[field].append(str(node))
    record = clean_proposal_text({name: " ".join(parts).lstrip(": \n") for name, parts in texts.items()})
    if record.title is None:
        raise ArchiveError(f"the page of proposal {number} has no title")
    return record


def _read_html(data: bytes, subject: str) -> BeautifulSoup:
    """Parse HTML. Raises ArchiveError if it cannot be parsed; `subject` describes the page in the message."""
    try:
        return BeautifulSoup(STRAY_BRACKET.sub("&lt;", decode(data[:MAX_PAGE_BYTES])), "html.parser")
    except (ParserRejectedMarkup, ValueError, AssertionError, RecursionError) as error:
        raise ArchiveError(f"the page of {subject} is not HTML ({' '.join(str(error).split())[:80]})") from error


def find_bulk_link(data: bytes) -> str:
    """Find the link to `abstracts.cat` on STScI's page of proposal abstracts."""
    links = (str(tag.get("href", "")) for tag in _read_html(data, "proposal abstracts").find_all("a"))
    link = next((link for link in links if link.split("?")[0].endswith("abstracts.cat")), None)
    if link is None:
        raise ArchiveError("the page of proposal abstracts has no link to abstracts.cat")
    return link
