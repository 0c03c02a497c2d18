"""Reading what STScI serves about proposals: the bulk list, APT XML and the programme page. Pure functions.

The layouts are those of 2025-26 and their forerunners; nothing is relied on that an older file lacks. The text listings
stand in `listing.py`.
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

KEYS = {"prop. type": "proposal_type", "category": "category", "id": "number", "cycle": "cycle", "title": "title",
        "pi": "pi"}  # fmt: skip
PAGE_LABELS = {"title": "title", "cycle": "cycle", "principal investigator": "pi", "pi": "pi", "category": "category",
               "scientific category": "category", "program type": "proposal_type", "prop. type": "proposal_type",
               "proposal category": "proposal_type"}  # fmt: skip
LABEL_TAGS = frozenset({"b", "strong", "th", "dt", "label"})
BREAKS = frozenset({"br", "p", "div", "tr", "td", "th", "dt", "dd", "li", "table", "h1", "h2", "h3"})
RULE = "-----"
XML_DECLARATION = re.compile(r"\A\s*<\?xml[^>]*\?>")
NO_TAG = re.compile(r"<(?![^<>]{0,2000}>)")
"""A bracket that opens no tag; Python's parser takes quadratic time over many of them."""
MAX_PAGE_BYTES = 100_000
"""A programme's page is some ten thousand bytes; of a longer one only the beginning is read."""
ZIP_START = b"PK\x03\x04"
MAX_APT_BYTES = 100_000_000
"""Largest XML that is unpacked from an APT archive."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposalText:
    """What one source says about a proposal; None where it says nothing."""

    number: str
    cycle: int | None = None
    proposal_type: str | None = None
    category: str | None = None
    title: str | None = None
    pi: str | None = None
    abstract: str | None = None


def text_of(values: Mapping[str, str]) -> ProposalText:
    """A proposal's text from its fields as they were written, each cleaned."""
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
    """Every record of `abstracts.cat`; of one number given twice, the longer abstract counts, and the other record
    fills what that one lacks.
    """
    best: dict[str, ProposalText] = {}
    for lines in _records(text.splitlines()):
        record = text_of(_values_of(lines))
        known = best.get(record.number, record)
        if record.number:
            longer = len(record.abstract or "") > len(known.abstract or "")
            best[record.number] = _filled(record, known) if longer else _filled(known, record)
    return list(best.values())


def _filled(text: ProposalText, other: ProposalText) -> ProposalText:
    if text is other:
        return text
    missing = {f.name: getattr(other, f.name) for f in fields(text) if getattr(text, f.name) is None}
    return replace(text, **missing)


def split_abstracts_cat(lines: Iterable[bytes]) -> Iterator[bytes]:
    """The lines in pieces that hold whole records, mostly one each."""
    piece: list[bytes] = []
    is_begun = is_told = False
    for line in lines:
        if line.startswith(RULE.encode()):
            is_begun, is_told = is_begun or is_told, False
        elif not is_told and line.lower().startswith(b"prop. type:") and is_begun:
            yield b"".join(piece)
            piece, is_begun, is_told = [], False, True
        elif line.strip():
            is_told = True
        piece.append(line)
    yield b"".join(piece)


def numbers_in(text: str) -> Iterator[str]:
    """Numbers of the records of such a piece."""
    values = map(_values_of, _records(text.splitlines()))
    return filter(None, (clean_number(record.get("number")) for record in values))


def _records(lines: Iterable[str]) -> Iterator[list[str]]:
    """Lines of a record each. A dashed line inside an abstract ends no record: what follows it has no keys."""
    record: list[str] = []
    pending: list[str] = []
    for line in lines:
        if line.startswith(RULE):
            record += pending
            pending = []
        elif not pending and line.lower().startswith("prop. type:") and record:
            yield record
            record, pending = [], [line]
        elif line.strip() or pending:
            pending.append(line)
    yield record + pending


def _values_of(lines: list[str]) -> dict[str, str]:
    """Keys until the first empty line, where a line that is no key goes on with the last; then the abstract."""
    values: dict[str, list[str]] = {}
    key = ""
    body = len(lines)
    for index, line in enumerate(lines):
        name, _, value = line.partition(":")
        known = None if line[:1].isspace() else KEYS.get(name.strip().lower())
        if not line.strip() or (key == "pi" and known is None and not line[0].isspace()):
            body = index
            break
        key = known or key
        values.setdefault(key, []).append(value if known else line)
    return {name: "\n".join(parts) for name, parts in values.items()} | {"abstract": "\n".join(lines[body:])}


def parse_apt(data: bytes, number: str) -> ProposalText:
    """A programme's APT file, of any year. Its own number may be a placeholder, so the one asked for counts.

    Raises ArchiveError for what is no APT file, or that of another programme.
    """
    root = _read_xml(_apt_xml(data, number), number)
    for element in root.iter():  # JWST's files have a namespace, Hubble's have none
        element.tag = str(element.tag).rpartition("}")[2]
    told = root.get("Phase2ID", "") or _content(root, ".//ProposalInformation/ProposalID")
    if told.isdecimal() and clean_number(told) != number:
        raise ArchiveError(f"the APT file of proposal {number} is that of {told[:20]}")
    info = root if root.tag == "ProposalInformation" else root.find(".//ProposalInformation")
    if info is None:
        raise ArchiveError(f"the APT file of proposal {number} has no ProposalInformation")
    pi = info.find("PrincipalInvestigator")
    names = (
        [
            pi.get(part, "") or _content(pi, f".//{part}")
            for part in ("FirstName", "MiddleInitial", "LastName", "Suffix")
        ]
        if pi is not None
        else []
    )
    values = {
        "number": number,
        "cycle": info.get("Cycle", "") or _content(info, "Cycle"),
        # JWST: an empty element named as the type, `<ProposalCategory><GO/></ProposalCategory>`.
        "proposal_type": info.get("Category", "")
        or next((part.tag for part in info.findall("ProposalCategory/*")), ""),
        "category": info.get("ScientificCategory", "") or _content(info, "ScientificCategory"),
        "title": _content(info, "Title"),
        "pi": " ".join(part for part in names if part),
        "abstract": _content(info, "Abstract"),
    }
    return text_of(values)


def _apt_xml(data: bytes, number: str) -> bytes:
    """The XML of an APT file: Hubble's is XML, JWST's a zip archive with the XML as its first member of that kind."""
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
    """The root. What is no XML as it stands may be once its true encoding is taken and control characters are left out.

    expat 2.4.1 and later refuse entity bombs, and no entity is fetched.
    """
    try:
        return ET.fromstring(data)  # noqa: S314
    except (ET.ParseError, LookupError, ValueError):
        text = XML_DECLARATION.sub("", INVISIBLE.sub("", decode(data)), count=1)
    try:
        return ET.fromstring(text)  # noqa: S314
    except (ET.ParseError, ValueError) as error:
        raise ArchiveError(f"the APT file of proposal {number} is not XML ({error})") from error


def _content(info: ET.Element, name: str) -> str:
    found = info.find(name)
    return "" if found is None else "".join(found.itertext())


def parse_program_page(data: bytes, number: str) -> ProposalText:
    """A programme's page, old or new: labels in bold before values, and no abstract. Raises ArchiveError without
    title.
    """
    told: dict[str, list[str]] = {"number": [number]}
    field: str | None = None
    for node in _read_html(data, f"proposal {number}").descendants:
        if isinstance(node, Tag):
            is_over = field is not None and any(map(str.strip, told[field])) and node.name in BREAKS
            field = None if is_over else field
        elif type(node) is NavigableString:
            is_label = node.parent is not None and node.parent.name in LABEL_TAGS
            label = PAGE_LABELS.get(node.strip(": \r\n\t").lower()) if is_label else None
            if label is not None:
                field = None if label in told else label
                told.setdefault(label, [])
            elif field is not None:
                told[field].append(str(node))
    record = text_of({name: " ".join(parts).lstrip(": \n") for name, parts in told.items()})
    if record.title is None:
        raise ArchiveError(f"the page of proposal {number} has no title")
    return record


def _read_html(data: bytes, what: str) -> BeautifulSoup:
    try:
        return BeautifulSoup(NO_TAG.sub("&lt;", decode(data[:MAX_PAGE_BYTES])), "html.parser")
    except (ParserRejectedMarkup, ValueError, AssertionError, RecursionError) as error:
        raise ArchiveError(f"the page of {what} is not HTML ({' '.join(str(error).split())[:80]})") from error


def find_bulk_link(data: bytes) -> str:
    """The link to `abstracts.cat` on the page of proposal abstracts. Raises ArchiveError without one."""
    links = (str(tag.get("href", "")) for tag in _read_html(data, "proposal abstracts").find_all("a"))
    found = next((link for link in links if link.split("?")[0].endswith("abstracts.cat")), None)
    if found is None:
        raise ArchiveError("the page of proposal abstracts links no abstracts.cat")
    return found
