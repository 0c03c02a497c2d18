"""Merge the texts that several sources give for one proposal. Each field has a fixed order of preferred sources.

The functions are pure. The result says which source each field was taken from (its provenance).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from hubbleclip.archives.stsci.parsers import ProposalText

APT, BULK, LISTING, PAGE, ADS = "apt", "abstracts.cat", "listing", "program page", "ads"
"""Names of the sources in the provenance."""
MAX_PROVENANCE_CHARS = 120
"""Number of characters to which the provenance truncates a value that was not used."""


# The APT file has the proposers' own text. The bulk list and the listing have broken its lines and lost characters. The
# page has a copy of the text, and ADS has a copy of a copy.
TEXT = (APT, BULK, LISTING, PAGE, ADS)
# The bulk list is STScI's own record of what was granted. APT files keep what was requested, or a template's value.
STATUS = (BULK, APT, LISTING, PAGE, ADS)
FIELD_SOURCES = {
    "title": TEXT,
    "abstract": TEXT,
    "pi": TEXT,
    "cycle": STATUS,
    "proposal_type": STATUS,
    "category": STATUS,
}
"""Sources of each field, the most trusted first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MergedProposal:
    """The merged text of a proposal, the source of its title, and the provenance of each field.

    The provenance is JSON with sorted keys, such as `{"cycle": {"from": "abstracts.cat", "other": {"apt": 20}}}`. The
    key `from` has the source of the value. The key `other` has the values of those sources that give another value.
    """

    text: ProposalText
    source: str
    provenance: str


def merge(number: str, texts: Mapping[str, ProposalText]) -> MergedProposal:
    """Merge the texts of one proposal, by source, field by field; a field that no source has is None."""
    values: dict[str, str | int] = {}
    provenance: dict[str, dict[str, object]] = {}
    for field, sources in FIELD_SOURCES.items():
        candidates = {name: getattr(texts[name], field) for name in sources if name in texts}
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
    """Truncate a text that is longer than `MAX_PROVENANCE_CHARS`; return any other value unchanged."""
    if isinstance(value, str) and len(value) > MAX_PROVENANCE_CHARS:
        return f"{value[:MAX_PROVENANCE_CHARS]}…"
    return value
