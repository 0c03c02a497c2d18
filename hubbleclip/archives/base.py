"""The protocol that every archive implements, and the small functions that they share."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from hubbleclip.core.records import Observation, Product, Proposal, Rejection

NO_PROPOSAL = "unknown"
Known = Callable[[str, int], str | None]
"""Looks up a file that is on disk already: takes the ETag (without quotes) and the size (bytes) that the server gives,
returns the file's sha256, or None for an unknown file. Must be safe to call from several threads.
"""


@dataclass(frozen=True, slots=True)
class Delivery:
    """A fetched and checked product. `data` is its content if that is in memory only; then the product has no path."""

    product: Product
    data: bytes | None = None


class Archive(Protocol):
    """A mission's archive. It returns normalised records: the stages never see a service's own columns."""

    @property
    def name(self) -> str:
        """The first half of every `proposal_id`."""

    @property
    def is_local(self) -> bool:
        """Whether proposals are read from local disk.

        That costs no request, so they are read again in every run and a changed text is noticed.
        """

    def query_observations(self, since_mjd: float) -> Iterator[list[Observation]]:
        """Query the observations that became public since a date.

        Parameters
        ----------
        since_mjd
            Earliest release date (MJD, days).

        Yields
        ------
        list of Observation
            One page. An empty page is a checkpoint: everything up to the newest release date yielded so far is
            complete, and a later query may begin there.

        Raises
        ------
        ArchiveError
            If the query fails, or the pages do not sum to the archive's own count.

        """

    def list_products(
        self, observations: Sequence[Observation], taken: Mapping[str, frozenset[str]] | None = None
    ) -> tuple[list[Product], list[Rejection]]:
        """Choose the files to fetch: one per visit and filter.

        Parameters
        ----------
        observations
            Observations; all those of a proposal that the catalog has must be in one call.
        taken
            By proposal id, the `obs_id`s that have a product already. They count towards
            `max_products_per_proposal` and are never displaced by new ones.

        Returns
        -------
        products : list of Product
            The chosen files.
        rejections : list of Rejection
            One per observation without a file, with the reason.

        Raises
        ------
        ArchiveError
            If the products cannot be queried.

        """

    def fetch_proposals(self, numbers: Sequence[str]) -> tuple[list[Proposal], list[Rejection]]:
        """Fetch the texts of proposals.

        Parameters
        ----------
        numbers
            Proposal numbers, without the archive's prefix.

        Returns
        -------
        proposals : list of Proposal
            Those that were found.
        rejections : list of Rejection
            One per proposal that was not; a later run tries it again.

        Raises
        ------
        ArchiveError
            If the archive does not respond.

        """

    def set_file_lookup(self, known: Known) -> None:
        """Set the lookup of files on disk, so that a file offered again under another name is not downloaded.

        Parameters
        ----------
        known
            The lookup, see `Known`; called from several threads.

        """

    def fetch_product(self, product: Product) -> Product:
        """Fetch a file to disk and check its content.

        Parameters
        ----------
        product
            The file to fetch.

        Returns
        -------
        Product
            The product with sha256, path, size, source, etag, `fetched_version` and `fetched_at` set.

        Raises
        ------
        DownloadError
            If this file cannot be fetched.
        ArchiveDownError
            If the archive as a whole does not respond.
        DiskFullError
            If the disk has no room for the file.

        """

    def deliver_product(self, product: Product) -> Delivery:
        """Fetch a file that is needed only briefly: a small one may stay in memory and never touch the disk.

        Parameters
        ----------
        product
            The file to fetch.

        Returns
        -------
        Delivery
            The product, and its content if that is in memory only. Errors are those of `fetch_product`.

        """


def now_utc() -> datetime:
    """Return the current time.

    Returns
    -------
    datetime
        Time-zone aware, UTC.

    """
    return datetime.now(UTC)


def proposal_id_of(archive: str, number: str | None) -> str:
    """Build a proposal's identifier.

    Parameters
    ----------
    archive
        Name of the archive.
    number
        Proposal number as the archive writes it, perhaps with leading zeros.

    Returns
    -------
    str
        `archive:number` without leading zeros; `archive:unknown` for a missing number.

    """
    text = (number or "").strip()
    # only plain digits lose their zeros: other identifiers (names of files, "GO-5") are kept as they are
    return f"{archive}:{text.lstrip('0') or NO_PROPOSAL}" if text.isdigit() else f"{archive}:{text or NO_PROPOSAL}"


def reject(entity: str, entity_id: str, stage: str, *, reason: str, detail: str, settings_digest: str) -> Rejection:
    """Create a Rejection dated now.

    Parameters
    ----------
    entity
        Kind of record that is rejected, such as `observation`.
    entity_id
        Its identifier.
    stage
        Pipeline stage that rejects it.
    reason
        Short code.
    detail
        One line for people.
    settings_digest
        Digest of the settings under which it was rejected; under others it is tried again.

    Returns
    -------
    Rejection
        The record for the catalog.

    """
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
    """Sort key that puts a proposal's observations in a fixed pseudo-random order.

    Parameters
    ----------
    observation
        The observation.

    Returns
    -------
    tuple of str
        Proposal id, and a hash of the `obs_id`: observations added later do not change the order of the others.

    """
    # a hash, not the name itself: names sort by date and visit
    return observation.proposal_id, hashlib.sha256(observation.obs_id.encode()).hexdigest()
