"""Findings of the check of an archive, and the figures that it measures."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum


class Level(IntEnum):
    """Result of one comparison. The value is the exit code of `hubbleclip check-archive`."""

    OK = 0
    DIFFERS = 1
    """The ingest works, but the archive differs from what is known of it."""
    STOPS = 2
    """The ingest would stop, or lose data."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the table: what was compared, what the program needs, what the archive has, and the result."""

    what: str
    needed: str
    found: str
    level: Level


@dataclass(slots=True, kw_only=True)
class Measured:
    """Figures of the archive that the requests measured; None if a figure was not measured.

    `rows_s` and `list_s` are seconds per page of observations and per list of products, `bytes_per_s` is the speed of
    one connection. Of a sample of `num_sampled` observations `num_files` were chosen, of `file_bytes` on average.
    `bytes_per_pixel` is that of the pinned file. `read_share` is the share of a file that is fetched by ranges.
    """

    num_observations: int | None = None
    rows_s: float | None = None
    list_s: float | None = None
    bytes_per_s: float | None = None
    num_sampled: int = 0
    num_files: int = 0
    file_bytes: float | None = None
    bytes_per_pixel: float | None = None
    read_share: float = 1.0
    num_requests: int = 0
    total_s: float = 0.0


@dataclass(frozen=True, slots=True)
class CheckReport:
    """All findings of a check, and what the check measured."""

    findings: list[Finding]
    measured: Measured = field(default_factory=Measured)

    @property
    def level(self) -> Level:
        """Worst result of all comparisons."""
        return max((finding.level for finding in self.findings), default=Level.OK)


def compare(what: str, needed: str, found: str, is_ok: bool, otherwise: Level = Level.DIFFERS) -> Finding:
    """Make a finding."""
    return Finding(what, needed, found, Level.OK if is_ok else otherwise)


def shortened(names: Iterable[object], limit: int = 6) -> str:
    """Join sorted names by commas, and count those beyond the limit; "none" if there are none."""
    ordered = sorted(map(str, names))
    more = f" and {len(ordered) - limit} more" if len(ordered) > limit else ""
    return ", ".join(ordered[:limit]) + more if ordered else "none"
