"""Merge what several sources say of one proposal: a fixed priority per field, with provenance. Pure functions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from hubbleclip.archives.stsci.parsers import ProposalText

APT, BULK, LISTING, PAGE, ADS = "apt", "abstracts.cat", "listing", "program page", "ads"
"""Names of the sources, as the provenance gives them."""
MAX_PROVENANCE_CHARS = 120
"""A longer value that was not used is truncated to this in the provenance."""


@dataclass(frozen=True, slots=True)
class FieldPriority:
    """Sources of a field, the most trusted first, and the reason for that order."""

    sources: tuple[str, ...]
    reason: str


TEXT = FieldPriority(
    (APT, BULK, LISTING, PAGE, ADS),
    "APT has the proposers' own text, unwrapped; the bulk list and the listing wrap it and lose characters; the page"
    " is a copy, and ADS a copy of a copy",
)
STATUS = FieldPriority(
    (BULK, APT, LISTING, PAGE, ADS),
    "the bulk list is STScI's own record of what was granted; APT files keep what was requested, or a template's value",
)
FIELD_PRIORITIES = {
    "title": TEXT, "abstract": TEXT, "pi": TEXT, "cycle": STATUS, "proposal_type": STATUS, "category": STATUS,
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class MergedProposal:
    """The merged text, the source of its title, and the provenance of each field as sorted JSON.

    Such as `{"cycle": {"from": "abstracts.cat", "other": {"apt": 20}}}`, where `other` holds the values of the sources
    that differ.
    """

    text: ProposalText
    source: str
    provenance: str


def merge(number: str, texts: Mapping[str, ProposalText]) -> MergedProposal:
    """Merge the texts of one proposal field by field.

    Parameters
    ----------
    number
        The proposal's number.
    texts
        What each source says, by the source's name; their order does not matter.

    Returns
    -------
    MergedProposal
        Each field from the first source of its priority that has it; None if no source does.

    """
    values: dict[str, str | int] = {}
    provenance: dict[str, dict[str, object]] = {}
    for field, priority in FIELD_PRIORITIES.items():
        candidates = {name: getattr(texts[name], field) for name in priority.sources if name in texts}
        candidates = {name: value for name, value in candidates.items() if value is not None}
        if not candidates:
            continue
        source, values[field] = next(iter(candidates.items()))
        other = {name: _truncate(value) for name, value in candidates.items() if value != values[field]}
        provenance[field] = {"from": source, "other": other} if other else {"from": source}
    provenance_json = json.dumps(provenance, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    source = str(provenance.get("title", {}).get("from", ""))
    text = ProposalText(number=number, **values)  # type: ignore[arg-type]
    return MergedProposal(text=text, source=source, provenance=provenance_json)


def _truncate(value: str | int) -> str | int:
    """Truncate a long text for the provenance."""
    if isinstance(value, str) and len(value) > MAX_PROVENANCE_CHARS:
        return f"{value[:MAX_PROVENANCE_CHARS]}…"
    return value
