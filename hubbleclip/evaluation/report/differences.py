"""What differs between two runs: their data, their training and every setting."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

FACTS = {
    "model": "model",
    "pretrained": "public weights",
    "loss": "loss",
    "trained_on_digest": "trained on dataset",
    "best_step": "step",
    "samples_seen": "training samples seen",
}
"""Facts of a run that are compared, and their names."""


class Difference(NamedTuple):
    """One value that differs; each text is empty if the run has no such value."""

    name: str
    this: str
    other: str


def run_differences(this: Mapping[str, Any], other: Mapping[str, Any]) -> list[Difference]:
    """List what differs between two runs."""
    rows = [(name, this.get(key), other.get(key)) for key, name in FACTS.items()]
    mine, theirs = _settings(this["training"]), _settings(other["training"])
    rows += [(name, mine.get(name), theirs.get(name)) for name in sorted(mine.keys() | theirs.keys())]
    return [Difference(name, _text(one), _text(two)) for name, one, two in rows if one != two]


def _settings(sections: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return settings by `section.name`."""
    return {f"{section}.{name}": value for section, values in sections.items() for name, value in values.items()}


def _text(value: Any) -> str:
    """Format a value; numbers of five digits and more have separators."""
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
