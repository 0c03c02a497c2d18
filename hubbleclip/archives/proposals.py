"""Reading what STScI serves about proposals: the bulk list, APT XML and the programme page. Pure functions.

The layouts are those of 2025-26 and their forerunners; nothing is relied on that an older file lacks.
"""

from __future__ import annotations

import html
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from bs4 import BeautifulSoup

from hubbleclip.errors import ArchiveError

KEYS = {"prop. type": "proposal_type", "category": "category", "id": "number", "cycle": "cycle", "title": "title",
        "pi": "pi"}  # fmt: skip
RULE = "-----"
FONT_GROUP = re.compile(r"\{\\(?:it|bf|em|rm|sl|tt|sc)\b\s*([^{}]*)\}")
COMMAND = re.compile(r"\\(?:it|bf|em|rm|sl|tt|sc|textit|textbf|emph|mathrm|rm)\b\s*")
MATH = re.compile(r"\$([^$\n]{1,60})\$")
SYMBOLS = {r"\sim": "~", r"\times": "x", r"\pm": "+/-", r"\geq": ">=", r"\leq": "<=", r"\ge": ">=", r"\le": "<=",
           r"\approx": "~", r"\%": "%", r"\&": "&", r"\_": "_"}  # fmt: skip
LEFT_COMMAND = re.compile(r"\\([A-Za-z]+)")
NO_LINK = r"(?!(?:and|or|to|vs|versus|nor)\b)"
BROKEN_AT_HYPHEN = re.compile(rf"(?<=[\w-]-)[ \t]*\r?\n\s*(?=\w){NO_LINK}")
SPACED_HYPHEN = re.compile(rf"(?<=[a-z])- {NO_LINK}(?=[a-z])")
HONORIFIC = re.compile(r"^(?:(?:Dr|Prof|Mr|Mrs|Ms|Miss|Sir)\.?\s+)+", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposalText:
    """What one source says about a proposal; None where it says nothing."""

    number: str
    cycle: int | None
    proposal_type: str | None
    category: str | None
    title: str | None
    pi: str | None
    abstract: str | None


def clean_text(text: str | None) -> str | None:
    """Readable prose: entities and braces resolved, broken lines joined, LaTeX residue gone, one space between words.

    None for nothing and for the word `None`. The lost characters that STScI shows as `?` stay.
    """
    text = html.unescape(text or "").replace("\N{NO-BREAK SPACE}", " ")
    text = FONT_GROUP.sub(r"\1", text)
    if "\\" in text:
        for command, symbol in SYMBOLS.items():
            text = re.sub(re.escape(command) + r"(?![A-Za-z])", symbol, text)
        text = LEFT_COMMAND.sub(r"\1", COMMAND.sub("", text))
    text = MATH.sub(r"\1", text).replace("``", '"').replace("''", '"').replace("{", "(").replace("}", ")")
    text = " ".join(BROKEN_AT_HYPHEN.sub("", text).split())
    text = SPACED_HYPHEN.sub("-", text)
    return None if text.lower() in {"", "none"} else text


def clean_name(text: str | None) -> str | None:
    """A person's name without a title."""
    return clean_text(HONORIFIC.sub("", (text or "").strip()))


def clean_number(text: str | None) -> str:
    """A proposal's number without leading zeros; empty when there is none."""
    match = re.search(r"\d+", text or "")
    return str(int(match[0])) if match else ""


def clean_cycle(text: str | None) -> int | None:
    """The cycle's number; None when it is missing."""
    match = re.search(r"\d+", text or "")
    return int(match[0]) if match else None


def parse_abstracts_cat(text: str) -> list[ProposalText]:
    """Every record of `abstracts.cat`; of one number given twice, the record with the longer abstract counts."""
    best: dict[str, ProposalText] = {}
    for chunk in _records(text.splitlines()):
        record = _parse_record(chunk)
        known = best.get(record.number)
        if record.number and (known is None or len(record.abstract or "") > len(known.abstract or "")):
            best[record.number] = record
    return list(best.values())


def _records(lines: Iterable[str]) -> Iterator[list[str]]:
    """Lines of a record each. A dashed line inside an abstract ends no record: what follows it has no keys."""
    chunk: list[str] = []
    pending: list[str] = []
    for line in lines:
        if line.startswith(RULE):
            chunk, pending = [*chunk, *pending], []
        elif not pending and line.lower().startswith("prop. type:") and chunk:
            yield chunk
            chunk, pending = [], [line]
        elif line.strip() or pending:
            pending.append(line)
    yield [*chunk, *pending]


def _parse_record(lines: list[str]) -> ProposalText:
    """Keys until the first empty line, where a line that begins with space goes on with the last; then the abstract."""
    values: dict[str, str] = {}
    key = ""
    body = len(lines)
    for index, line in enumerate(lines):
        if not line.strip():
            body = index
            break
        name, _, value = line.partition(":")
        if line[0].isspace() or name.strip().lower() not in KEYS:
            values[key] = f"{values.get(key, '')}\n{line}"
        else:
            key = KEYS[name.strip().lower()]
            values[key] = value
    return _record_of(values, "\n".join(lines[body:]))


def _record_of(values: dict[str, str], abstract: str) -> ProposalText:
    return ProposalText(
        number=clean_number(values.get("number")),
        cycle=clean_cycle(values.get("cycle")),
        proposal_type=clean_text(values.get("proposal_type")),
        category=clean_text(values.get("category")),
        title=clean_text(values.get("title")),
        pi=clean_name(values.get("pi")),
        abstract=clean_text(abstract),
    )


def parse_apt(data: bytes, number: str) -> ProposalText:
    """A programme's APT file; its own number may be a placeholder, so the one asked for counts. Raises ArchiveError."""
    try:
        root = ET.fromstring(data)  # noqa: S314 - expat 2.4.1 and later refuse entity bombs, and no entity is fetched
    except ET.ParseError as error:
        raise ArchiveError(f"the APT file of proposal {number} is not XML ({error})") from error
    info = root if root.tag == "ProposalInformation" else root.find(".//ProposalInformation")
    if info is None:
        raise ArchiveError(f"the APT file of proposal {number} has no ProposalInformation")
    pi = info.find("PrincipalInvestigator")
    names = [pi.get(part, "") for part in ("FirstName", "MiddleInitial", "LastName")] if pi is not None else []
    values = {
        "number": number,
        "cycle": info.get("Cycle", ""),
        "proposal_type": info.get("Category", ""),
        "category": info.get("ScientificCategory", "") or info.findtext("ScientificCategory", ""),
        "title": info.findtext("Title", ""),
        "pi": " ".join(part for part in names if part),
    }
    return _record_of(values, info.findtext("Abstract", ""))


def parse_program_page(text: str, number: str) -> ProposalText | None:
    """A programme's page, old or new: labels in bold before values, and no abstract. None when it has no title."""
    soup = BeautifulSoup(text, "html.parser")
    values = {"number": number}
    labels = {"title": "title", "cycle": "cycle", "principal investigator": "pi", "pi": "pi", "category": "category",
              "scientific category": "category", "program type": "proposal_type", "prop. type": "proposal_type",
              "proposal category": "proposal_type"}  # fmt: skip
    for tag in soup.find_all(["b", "strong", "th", "dt", "label"]):
        key = labels.get(tag.get_text(" ", strip=True).rstrip(":").lower())
        follower = (
            tag.find_next_sibling(["td", "dd", "span"]) if tag.name in {"th", "dt", "label"} else tag.next_sibling
        )
        if key and follower is not None and key not in values:
            values[key] = follower.get_text(" ", strip=True).lstrip(": ")
    record = _record_of(values, "")
    return record if record.title else None


def find_bulk_link(text: str) -> str | None:
    """The link to `abstracts.cat` on the page of proposal abstracts."""
    links = (str(tag.get("href", "")) for tag in BeautifulSoup(text, "html.parser").find_all("a"))
    return next((link for link in links if link.split("?")[0].endswith("abstracts.cat")), None)
