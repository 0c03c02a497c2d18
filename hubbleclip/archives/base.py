"""The protocol that every archive implements, and small functions that all archives share."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Protocol, Self
from urllib.parse import urlsplit
from uuid import uuid4

from hubbleclip.core.records import Observation, Product, Proposal, Rejection

NO_PROPOSAL = "unknown"
STALE_NUMBER = "stale_number"
"""Rejection reason: the archive no longer has the observation's number. See `Archive.list_products`."""
BUILT_OBJECTS = 8
"""Largest number of archive objects that a worker process keeps. The least recently used object is dropped first."""
_BUILD_LOCK = threading.Lock()


@dataclass(frozen=True, slots=True)
class Delivery:
    """A fetched and checked product.

    If the file is in memory only, `data` holds its content and the product has no path. Otherwise `data` is None.
    """

    product: Product
    data: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservationPage:
    """One page of a query for observations. It can be iterated like a list of its observations.

    `rejections` has one entry per observation that is rejected. `num_rows` maps each day of release (MJD) to the number
    of rows on the page that were released on this day, including rows that are not used.
    """

    observations: Sequence[Observation] = ()
    rejections: Sequence[Rejection] = ()
    num_rows: Mapping[int, int] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Observation]:
        return iter(self.observations)

    def __len__(self) -> int:
        return len(self.observations)

    @property
    def is_checkpoint(self) -> bool:
        """Whether the page is a checkpoint, which is an empty page; see `Archive.query_observations`."""
        return not (self.observations or self.rejections or self.num_rows)


class Archive(Protocol):
    """A mission's archive. It returns normalised records, so that pipeline stages do not depend on MAST's columns."""

    @property
    def name(self) -> str:
        """Name of the archive, which is the part of every `proposal_id` before the colon."""

    @property
    def is_local(self) -> bool:
        """Whether proposals are read from local disk.

        Such proposals are read again in every run, because reading them costs no request and their texts may change.
        """

    def query_observations(self, since_mjd: float, until_mjd: float | None = None) -> Iterator[ObservationPage]:
        """Query the observations that became public since a date.

        Parameters
        ----------
        since_mjd
            Earliest release date (MJD, days).
        until_mjd
            Latest release date (MJD, days); None for the current time.

        Yields
        ------
        ObservationPage
            One page of observations. An empty page is a checkpoint: all observations that were released before the
            newest release date so far have been yielded. A later query may begin at this date.

        Raises
        ------
        ArchiveError
            If the query fails, or the number of observations on all pages differs from the archive's own count.

        """

    def count_rows(self, since_mjd: float, until_mjd: float) -> int:
        """Count the archive's rows between two release dates, as `ObservationPage.num_rows` counts them.

        Parameters
        ----------
        since_mjd, until_mjd
            Earliest and latest release date (MJD, days).

        Returns
        -------
        int
            Number of rows, as counted by the archive.

        Raises
        ------
        ArchiveError
            If the query fails.

        """

    def list_products(
        self, observations: Sequence[Observation], taken: Mapping[str, frozenset[str]] | None = None
    ) -> tuple[list[Product], list[Rejection]]:
        """Choose the files to fetch, one per visit and filter.

        Parameters
        ----------
        observations
            Observations of one or more proposals. For each of these proposals, the sequence must contain all
            observations in the catalog.
        taken
            The `obs_id`s that already have a product, by proposal id. These products count towards
            `max_products_per_proposal`, and new products never replace them.

        Returns
        -------
        products : list of Product
            The chosen files.
        rejections : list of Rejection
            One rejection, with its reason, per observation for which no file was chosen. The reason `STALE_NUMBER`
            means that the archive has withdrawn or renumbered the observation; its whole proposal then has no products
            and no other rejections.

        Raises
        ------
        ArchiveError
            If the products cannot be queried.

        """

    def renewed_files(self, products: Sequence[Product]) -> tuple[list[str], list[str]]:
        """Find the files whose content has changed, although the archive still lists the same `archive_version`.

        Parameters
        ----------
        products
            Fetched files.

        Returns
        -------
        tuple of lists of str
            URIs of the files whose ETag differs from the ETag of the fetched content, and URIs of the files whose ETag
            could not be requested.

        """

    def fetch_proposals(self, numbers: Sequence[str]) -> tuple[list[Proposal], list[Rejection]]:
        """Fetch the texts of proposals.

        Parameters
        ----------
        numbers
            Proposal numbers, without the archive's name before them.

        Returns
        -------
        proposals : list of Proposal
            The proposals that were found.
        rejections : list of Rejection
            One rejection per proposal that was not found; a later run looks for these proposals again.

        Raises
        ------
        ArchiveError
            If the archive does not respond.

        """

    def fetch_product(self, product: Product, *, is_kept: bool = True) -> Delivery:
        """Fetch a file and check its content.

        Parameters
        ----------
        product
            The file to fetch.
        is_kept
            Whether the file is written to disk. Otherwise, a small file may stay in memory.

        Returns
        -------
        Delivery
            Copy of the product in which `sha256`, `path`, `size_bytes`, `source`, `etag`, `fetched_version` and
            `fetched_at` are set. If the file is in memory only, `path` is None and `data` is the file's content.

        Raises
        ------
        DownloadError
            If this file cannot be fetched.
        ArchiveDownError
            If the archive as a whole does not respond.
        DiskFullError
            If the disk has no room for the file.

        """


class ProcessLocal:
    """Base class of archives. Their locks and connections cannot be pickled.

    Only the arguments of the constructor are pickled. Each process builds the object once from these arguments.
    """

    _recipe: tuple[str, type, tuple[Any, ...]]

    def __new__(cls, *args: Any) -> Self:
        """Create the object, and keep its recipe: a unique name, the class and the arguments of the constructor."""
        instance = super().__new__(cls)
        # A worker process may serve several runs. The unique name prevents a run from using the object of an earlier
        # run, whose circuit breaker may be open.
        instance._recipe = uuid4().hex, cls, args
        return instance

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the recipe (see `__new__`) instead of the object's state."""
        return _build, self._recipe


def _build(*recipe: Any) -> Any:
    """Return the object that this process has already built from the recipe, or build the object now."""
    with _BUILD_LOCK:  # two threads at once could otherwise build the object twice
        return _build_once(*recipe)


@lru_cache(BUILT_OBJECTS)
def _build_once(name: str, cls: type, args: tuple[Any, ...]) -> Any:
    """Build an object from its recipe; `lru_cache` keeps the object."""
    return cls(*args)


def service_url(mast_url: str, public_url: str = "") -> str:
    """Return `public_url` if `mast_url` is at STScI; otherwise return `mast_url` with the path of `public_url`."""
    if (urlsplit(mast_url).hostname or "").endswith(".stsci.edu"):
        return public_url
    _, slash, path = public_url.removeprefix("https://").partition("/")
    return f"{mast_url.rstrip('/')}{slash}{path}"


def proposal_id_of(archive: str, number: str | None) -> str:
    """Build a proposal's identifier from the archive's name and the proposal's number, without leading zeros."""
    text = (number or "").strip()
    # Leading zeros are removed only if the text is all digits. Other texts, such as "GO-5", are unchanged.
    return f"{archive}:{text.lstrip('0') or NO_PROPOSAL}" if text.isdigit() else f"{archive}:{text or NO_PROPOSAL}"
