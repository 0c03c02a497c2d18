"""What an archive must be able to do, and the words that all of them share."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from hubbleclip.core.records import Observation, Product, Proposal, Rejection

NO_PROPOSAL = "unknown"
Known = Callable[[str, int], str | None]
"""The sha256 of a file on the disk by the ETag (without quotes) and size that its server gave; None where there is no
such file.
"""


@dataclass(frozen=True, slots=True)
class Delivery:
    """A fetched file, checked. `data` is its content where that is in memory alone; then the product has no path."""

    product: Product
    data: bytes | None = None


class Archive(Protocol):
    """A mission's archive. Records come out normalised: the stages never see a service's own columns."""

    @property
    def name(self) -> str:
        """The first half of every `proposal_id`."""

    @property
    def has_local_proposals(self) -> bool:
        """Whether proposals are read where they stand, which costs nothing: they are read again each time, so that a
        change is seen.
        """

    def query_observations(self, since_mjd: float) -> Iterator[list[Observation]]:
        """Pages of the observations released since; raises ArchiveError unless their sum is the archive's own count.

        An empty page says that up to the newest release so far all have come, and a later query may begin there.
        """

    def list_products(
        self, observations: Sequence[Observation], taken: Mapping[str, frozenset[str]] | None = None
    ) -> tuple[list[Product], list[Rejection]]:
        """One file a visit and filter, and for each other observation the reason why it has none. Raises ArchiveError.

        Give all observations of a proposal that the catalog knows in one call. `taken` names the observations of each
        proposal id that have a file already: they keep their place under `max_products_per_proposal`.
        """

    def fetch_proposals(self, numbers: Sequence[str]) -> tuple[list[Proposal], list[Rejection]]:
        """The proposals of these numbers, or the reason why one is missing, to be tried again later. Raises
        ArchiveError.
        """

    def set_file_lookup(self, known: Known) -> None:
        """Take note of how to find files on the disk: one that is offered again under another name is not fetched.
        Threads may call `known` side by side.
        """

    def fetch_product(self, product: Product) -> Product:
        """The product with sha256, path, size, source, etag, `fetched_version` and time once its bytes are on the disk
        and checked.

        Raises DownloadError for this file, ArchiveDownError when no file could be had, DiskFullError.
        """

    def deliver_product(self, product: Product) -> Delivery:
        """As `fetch_product`, for a file that is needed for a moment only: a small one may come in memory alone."""


def now_utc() -> datetime:
    """The time now, with its zone."""
    return datetime.now(UTC)


def proposal_id_of(archive: str, number: str | None) -> str:
    """`archive:number`; a number's leading zeros are dropped, a missing one is `unknown`."""
    text = (number or "").strip()
    return f"{archive}:{text.lstrip('0') or NO_PROPOSAL}" if text.isdigit() else f"{archive}:{text or NO_PROPOSAL}"


def reject(entity: str, entity_id: str, stage: str, *, reason: str, detail: str, settings_digest: str) -> Rejection:
    """A Rejection of now."""
    return Rejection(
        entity=entity,
        entity_id=entity_id,
        stage=stage,
        reason=reason,
        detail=detail,
        settings_digest=settings_digest,
        rejected_at=now_utc(),
    )


def sampling_key(observation: Observation) -> tuple[str, str]:
    """Order in which a proposal's observations are drawn: a hash of the name, which no later observation changes."""
    return observation.proposal_id, hashlib.sha256(observation.obs_id.encode()).hexdigest()
