"""Parsers of STScI's proposal files: the bulk list, APT (Astronomer's Proposal Tool) XML, the programme's web page.

Pure functions. They accept the layouts of 2025-26 and the older ones; no element is required that an older file lacks.
Text listings are parsed in `program_listing.py`.
"""

from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ET
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace

from bs4 import BeautifulSoup
from bs4.element import NavigableString, Tag
from bs4.exceptions import ParserRejectedMarkup

from hubbleclip.archives.stsci.categories import clean_category
from hubbleclip.core.errors import ArchiveError
from hubbleclip.core.text_cleaning import (
    INVISIBLE,
    clean_cycle,
    clean_name,
    clean_number,
    clean_text,
    decode,
)

BULK_KEYS = {"prop. type": "proposal_type", "category": "category", "id": "number", "cycle": "cycle", "title": "title",
        "pi": "pi"}  # fmt: skip
"""Fields by the key before the colon in `abstracts.cat`."""
PAGE_LABELS = {"title": "title", "cycle": "cycle", "principal investigator": "pi", "pi": "pi", "category": "category",
               "scientific category": "category", "program type": "proposal_type", "prop. type": "proposal_type",
               "proposal category": "proposal_type"}  # fmt: skip
"""Fields by the label on a programme's page."""
# elements that hold the labels of a programme's page, and those that end a value
LABEL_TAGS = frozenset({"b", "strong", "th", "dt", "label"})
BREAKS = frozenset({"br", "p", "div", "tr", "td", "th", "dt", "dd", "li", "table", "h1", "h2", "h3"})
DASHED_LINE = "-----"
"""Start of the line that separates records of `abstracts.cat`; its length has varied."""
XML_DECLARATION = re.compile(r"\A\s*<\?xml[^>]*\?>")
STRAY_BRACKET = re.compile(r"<(?![^<>]{0,2000}>)")
"""A bracket that opens no tag; Python's HTML parser takes quadratic time over many of them."""
MAX_PAGE_BYTES = 100_000
"""A programme's page has about 10,000 bytes; only the beginning of a longer one is parsed."""
ZIP_START = b"PK\x03\x04"
MAX_APT_BYTES = 100_000_000
"""Largest XML that is unpacked from an APT archive."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposalText:
    """The fields of a proposal in one source, cleaned; None for a field that the source lacks."""

    number: str
    cycle: int | None = None
    proposal_type: str | None = None
    category: str | None = None
    title: str | None = None
    pi: str | None = None
    abstract: str | None = None


def clean_proposal_text(values: Mapping[str, str]) -> ProposalText:
    """Clean the fields of a proposal.

    Parameters
    ----------
    values
        Raw text by field of ProposalText; fields may be missing.

    Returns
    -------
    ProposalText
        The cleaned fields; None for missing and empty ones.

    """
    return ProposalText(
        number=clean_number(values.get("number")),
        cycle=clean_cycle(values.get("cycle")),
        proposal_type=clean_text(values.get("proposal_type")),
        category=clean_category(values.get("category")),
        title=clean_text(values.get("title")),
        pi=clean_name(values.get("pi")),
        abstract=clean_text(values.get("abstract")),
    )


def parse_abstracts_cat(text: str) -> list[ProposalText]:
    """Parse records of `abstracts.cat`.

    Parameters
    ----------
    text
        The whole file or a part of it.

    Returns
    -------
    list of ProposalText
        One per number. If a number has two records, the one with the longer abstract counts, and the other one fills
        its missing fields.

    """
    best: dict[str, ProposalText] = {}
    for lines in _records(text.splitlines()):
        record = clean_proposal_text(_parse_record(lines))
        previous = best.get(record.number, record)
        if record.number:
            is_longer = len(record.abstract or "") > len(previous.abstract or "")
            best[record.number] = _fill_missing(record, previous) if is_longer else _fill_missing(previous, record)
    return list(best.values())


def _fill_missing(text: ProposalText, other: ProposalText) -> ProposalText:
    """Fill the missing fields of `text` from `other`."""
    if text is other:
        return text
    missing = {f.name: getattr(other, f.name) for f in fields(text) if getattr(text, f.name) is None}
    return replace(text, **missing)


def split_abstracts_cat(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Split `abstracts.cat` between records.

    Parameters
    ----------
    lines
        Lines of the file, with their ends.

    Yields
    ------
    bytes
        Pieces that hold whole records, mostly one each; joined they are the file.

    """
    piece: list[bytes] = []
    # whether the piece has a record already; whether the text since the last dashed line has begun
    has_record = has_text = False
    for line in lines:
        if line.startswith(DASHED_LINE.encode()):
            has_record, has_text = has_record or has_text, False
        elif not has_text and line.lower().startswith(b"prop. type:") and has_record:
            yield b"".join(piece)
            piece, has_record, has_text = [], False, True
        elif line.strip():
            has_text = True
        piece.append(line)
    yield b"".join(piece)


def proposal_numbers(text: str) -> Iterator[str]:
    """Find the proposal numbers in a piece of `abstracts.cat`, without parsing the rest.

    Parameters
    ----------
    text
        A piece that `split_abstracts_cat` yields.

    Returns
    -------
    iterator of str
        Numbers of its records.

    """
    values = map(_parse_record, _records(text.splitlines()))
    return filter(None, (clean_number(record.get("number")) for record in values))


def _records(lines: Iterable[str]) -> Iterator[list[str]]:
    """Group lines by record. A dashed line inside an abstract ends no record: no `Prop. Type:` follows it."""
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


def _parse_record(lines: list[str]) -> dict[str, str]:
    """Parse one record: keys with their continuation lines until the first empty line, then the abstract."""
    values: dict[str, list[str]] = {}
    field = ""
    abstract_start = len(lines)
    for index, line in enumerate(lines):
        key, _, value = line.partition(":")
        new_field = None if line[:1].isspace() else BULK_KEYS.get(key.strip().lower())
        # PI is the last key; some records lack the empty line after it
        if not line.strip() or (field == "pi" and new_field is None and not line[0].isspace()):
            abstract_start = index
            break
        field = new_field or field
        values.setdefault(field, []).append(value if new_field else line)
    fields_text = {name: "\n".join(parts) for name, parts in values.items()}
    return fields_text | {"abstract": "\n".join(lines[abstract_start:])}


def parse_apt(data: bytes, number: str) -> ProposalText:
    """Parse a programme's APT file, of any year.

    Parameters
    ----------
    data
        The XML file, or a zip archive that holds it.
    number
        Number of the requested proposal.

    Returns
    -------
    ProposalText
        Its fields, under the requested number: the number in the file may be a placeholder.

    Raises
    ------
    ArchiveError
        If the data are no APT file, or the APT file of another programme.

    """
    root = _read_xml(_apt_xml(data, number), number)
    for element in root.iter():  # JWST's files have a namespace, Hubble's have none
        element.tag = str(element.tag).rpartition("}")[2]
    file_number = root.get("Phase2ID", "") or _content(root, ".//ProposalInformation/ProposalID")
    if file_number.isdecimal() and clean_number(file_number) != number:
        raise ArchiveError(f"the APT file of proposal {number} is that of {file_number[:20]}")
    info = root if root.tag == "ProposalInformation" else root.find(".//ProposalInformation")
    if info is None:
        raise ArchiveError(f"the APT file of proposal {number} has no ProposalInformation")
    pi = info.find("PrincipalInvestigator")
    parts = ("FirstName", "MiddleInitial", "LastName", "Suffix")
    names = [pi.get(part, "") or _content(pi, f".//{part}") for part in parts] if pi is not None else []
    # JWST: an empty element named as the type, `<ProposalCategory><GO/></ProposalCategory>`
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
    """Extract the XML of an APT file: Hubble's is XML, JWST's a zip archive with one XML file. Raises ArchiveError."""
    if not data.startswith(ZIP_START):
        return data
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            member = next((item for item in archive.infolist() if item.filename.endswith(".xml")), None)
            if member is None or member.file_size > MAX_APT_BYTES:
                raise ArchiveError(f"the APT file of proposal {number} holds no XML of at most {MAX_APT_BYTES} bytes")
            return archive.read(member)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError) as error:
        raise ArchiveError(f"the APT file of proposal {number} is a damaged zip archive ({error})") from error


def _read_xml(data: bytes, number: str) -> ET.Element:
    """Parse XML and return the root; a wrong encoding declaration and control characters are tolerated.

    Safe for untrusted data: expat 2.4.1 and later reject entity bombs, and external entities are not fetched.
    """
    try:
        return ET.fromstring(data)  # noqa: S314 - safe, see above
    except (ET.ParseError, LookupError, ValueError):
        text = XML_DECLARATION.sub("", INVISIBLE.sub("", decode(data)), count=1)
    # a str with an encoding declaration would be rejected, so the declaration is removed
    try:
        return ET.fromstring(text)  # noqa: S314 - as above
    except (ET.ParseError, ValueError) as error:
        raise ArchiveError(f"the APT file of proposal {number} is not XML ({error})") from error


def _content(info: ET.Element, name: str) -> str:
    """Return the text of a child element with that of its descendants; "" if there is none."""
    child = info.find(name)
    return "" if child is None else "".join(child.itertext())


def parse_program_page(data: bytes, number: str) -> ProposalText:
    """Parse a programme's web page, of the old or the new layout: labels in bold before values. It has no abstract.

    Parameters
    ----------
    data
        The HTML page.
    number
        Proposal number.

    Returns
    -------
    ProposalText
        The fields on the page.

    Raises
    ------
    ArchiveError
        If the page has no title.

    """
    texts: dict[str, list[str]] = {"number": [number]}
    field: str | None = None
    for node in _read_html(data, f"proposal {number}").descendants:
        if isinstance(node, Tag):
            # a value ends at the first line break after some text
            is_complete = field is not None and any(map(str.strip, texts[field])) and node.name in BREAKS
            field = None if is_complete else field
        elif type(node) is NavigableString:  # not isinstance: comments are a subclass
            is_label = node.parent is not None and node.parent.name in LABEL_TAGS
            label = PAGE_LABELS.get(node.strip(": \r\n\t").lower()) if is_label else None
            if label is not None:
                field = None if label in texts else label  # the first occurrence counts
                texts.setdefault(label, [])
            elif field is not None:
                texts[field].append(str(node))
    record = clean_proposal_text({name: " ".join(parts).lstrip(": \n") for name, parts in texts.items()})
    if record.title is None:
        raise ArchiveError(f"the page of proposal {number} has no title")
    return record


def _read_html(data: bytes, subject: str) -> BeautifulSoup:
    """Parse HTML. Raises ArchiveError, which names the `subject` of the page."""
    try:
        return BeautifulSoup(STRAY_BRACKET.sub("&lt;", decode(data[:MAX_PAGE_BYTES])), "html.parser")
    except (ParserRejectedMarkup, ValueError, AssertionError, RecursionError) as error:
        raise ArchiveError(f"the page of {subject} is not HTML ({' '.join(str(error).split())[:80]})") from error


def find_bulk_link(data: bytes) -> str:
    """Find the link to `abstracts.cat` on STScI's page of proposal abstracts.

    Parameters
    ----------
    data
        The HTML page.

    Returns
    -------
    str
        The link as written, perhaps relative.

    Raises
    ------
    ArchiveError
        If there is no such link.

    """
    links = (str(tag.get("href", "")) for tag in _read_html(data, "proposal abstracts").find_all("a"))
    link = next((link for link in links if link.split("?")[0].endswith("abstracts.cat")), None)
    if link is None:
        raise ArchiveError("the page of proposal abstracts links no abstracts.cat")
    return link
