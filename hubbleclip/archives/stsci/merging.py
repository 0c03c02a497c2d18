"""One proposal out of what several sources say: a written order a field, and who said what. Pure functions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from hubbleclip.archives.stsci.parsers import ProposalText

APT, BULK, LISTING, PAGE, ADS = "apt", "abstracts.cat", "listing", "program page", "ads"
MAX_PROVENANCE_CHARS = 120
"""A longer value of a source that was passed over is cut here in the provenance."""


@dataclass(frozen=True, slots=True)
class Order:
    """Sources of a field, the most trusted first, and why."""

    sources: tuple[str, ...]
    reason: str


TEXT = Order(
    (APT, BULK, LISTING, PAGE, ADS),
    "APT has the proposers' own text, unwrapped; the bulk list and the listing wrap it and lose characters; the page"
    " is a copy, and ADS a copy of a copy",
)
STATUS = Order(
    (BULK, APT, LISTING, PAGE, ADS),
    "the bulk list is STScI's own record of what was granted; APT files keep what was asked for, or a template's value",
)
ORDERS = {
    "title": TEXT, "abstract": TEXT, "pi": TEXT, "cycle": STATUS, "proposal_type": STATUS, "category": STATUS,
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """The text, the source of its title, and the provenance of each field as sorted JSON:
    `{"cycle": {"from": "abstracts.cat", "other": {"apt": 20}}}`, where `other` names who says something else.
    """

    text: ProposalText
    source: str
    provenance: str


def merge(number: str, texts: Mapping[str, ProposalText]) -> Merged:
    """What `texts` (by source) say of a proposal, each field from the first source of its order that has it. The order
    of `texts` does not matter. Sources must be those of ORDERS.
    """
    values: dict[str, str | int] = {}
    provenance: dict[str, dict[str, object]] = {}
    for field, order in ORDERS.items():
        told = {name: getattr(texts[name], field) for name in order.sources if name in texts}
        told = {name: value for name, value in told.items() if value is not None}
        if not told:
            continue
        source, values[field] = next(iter(told.items()))
        other = {name: _short(value) for name, value in told.items() if value != values[field]}
        provenance[field] = {"from": source, "other": other} if other else {"from": source}
    note = json.dumps(provenance, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    source = str(provenance.get("title", {}).get("from", ""))
    return Merged(text=ProposalText(number=number, **values), source=source, provenance=note)  # type: ignore[arg-type]


def _short(value: str | int) -> str | int:
    return f"{value[:MAX_PROVENANCE_CHARS]}…" if isinstance(value, str) and len(value) > MAX_PROVENANCE_CHARS else value
