"""Where a product's bytes come from: the archive's own server, or a public copy of it in the cloud."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Protocol

from hubbleclip.archives.base import Delivery, Known, now_utc
from hubbleclip.archives.http.client import Transport
from hubbleclip.archives.http.content_store import FetchedFile
from hubbleclip.archives.http.download import fetch_file
from hubbleclip.archives.mast.client import MastClient
from hubbleclip.archives.mast.public_bucket import S3Source
from hubbleclip.config.settings import FetchSettings
from hubbleclip.core.errors import ArchiveDownError, ArchiveError, DownloadError
from hubbleclip.core.layout import Layout
from hubbleclip.core.records import Product
from hubbleclip.missions.base import PublicBucket

LOG = logging.getLogger(__name__)


class FileSource(Protocol):
    """One place that files come from."""

    name: str
    """Its name in messages."""
    absent: frozenset[str]
    """Reasons of a DownloadError that mean that a URL has no such file, so that the next one is tried."""

    def addresses(self, product: Product) -> Iterable[str]:
        """List the URLs at which a file may be.

        Parameters
        ----------
        product
            The file.

        Returns
        -------
        iterable of str
            URLs, likeliest first; later ones may cost a request.

        Raises
        ------
        DownloadError
            For a product that this source cannot serve.

        """


class MastSource:
    """The archive's own server."""

    absent: frozenset[str] = frozenset()

    def __init__(self, fetch: FetchSettings, mast: MastClient, bucket: PublicBucket) -> None:
        self.name = mast.url
        self.mast = mast

    def addresses(self, product: Product) -> Iterable[str]:
        """See `FileSource`."""
        try:
            return [self.mast.download_url(product.uri)]
        except ArchiveError as error:
            raise DownloadError("refused", str(error)) from error


SOURCES: dict[str, Callable[[FetchSettings, MastClient, PublicBucket], FileSource]] = {
    "mast": MastSource,
    "s3": S3Source,
}
"""The sources by their names in `fetch.sources`."""


class FileSources:
    """The sources that the settings name, best first. Threads may share one object.

    Parameters
    ----------
    fetch
        Its field `sources` names them.
    layout
        Where files are stored.
    transport
        Sends the requests.
    mast
        The archive's server.
    bucket
        The mission's folder in the cloud.
    max_bytes
        Largest file; None sets no limit.

    """

    def __init__(
        self,
        fetch: FetchSettings,
        layout: Layout,
        transport: Transport,
        mast: MastClient,
        *,
        bucket: PublicBucket,
        max_bytes: int | None = None,
    ) -> None:
        self.layout = layout
        self.transport = transport
        self.max_bytes = max_bytes
        self.known: Known = lambda etag, size_bytes: None
        self.sources = {name: SOURCES[name](fetch, mast, bucket) for name in fetch.sources}
        self._down: dict[str, ArchiveDownError] = {}
        self._lock = threading.Lock()

    def fetch(self, product: Product) -> Product:
        """Fetch a file to the disk from the first source that has it, and check it.

        Parameters
        ----------
        product
            The file.

        Returns
        -------
        Product
            With path, hash, size and source. A source that is down is skipped from then on while another remains.

        Raises
        ------
        DownloadError
            With each source's reason.
        ArchiveDownError
            When no source responds.
        DiskFullError
            When the disk is full.

        """
        return self._deliver(product, is_kept=True).product

    def deliver(self, product: Product) -> Delivery:
        """Fetch a file; a small one stays in memory.

        Parameters
        ----------
        product
            The file.

        Returns
        -------
        Delivery
            See `fetch`, which raises the same errors.

        """
        return self._deliver(product, is_kept=False)

    def _deliver(self, product: Product, *, is_kept: bool) -> Delivery:
        """A file from the first source that has it, stored if `is_kept`."""
        failures: dict[str, ArchiveError] = dict(self._down)
        for name in [name for name in self.sources if name not in self._down]:
            try:
                file = self._fetch_from(self.sources[name], product, is_kept=is_kept)
            except ArchiveDownError as error:
                failures[name] = error
                self._skip_source(name, error)
            except DownloadError as error:
                failures[name] = error
            else:
                return Delivery(_arrived(product, name, file, self.layout), file.data)
        raise _joined(failures)

    def _fetch_from(self, source: FileSource, product: Product, *, is_kept: bool) -> FetchedFile:
        """The file from the first of a source's addresses that has it."""
        for url in source.addresses(product):
            try:
                return self._download(url, product, is_kept=is_kept)
            except DownloadError as error:
                if error.reason not in source.absent:
                    raise
        raise DownloadError("missing", f"{product.uri} is not in {source.name}")

    def _download(self, url: str, product: Product, *, is_kept: bool) -> FetchedFile:
        """The file at a URL."""
        return fetch_file(
            self.transport,
            url,
            uri=product.uri,
            file_name=product.file_name,
            size_bytes=product.size_bytes,
            layout=self.layout,
            max_bytes=self.max_bytes,
            known=self.known,
            is_kept=is_kept,
        )

    def _skip_source(self, name: str, error: ArchiveDownError) -> None:
        """Note that a source is down. Raises the error where no other source remains."""
        with self._lock:
            if name in self._down:
                return
            if len(self._down) + 1 == len(self.sources):
                raise error
            self._down[name] = error
        LOG.warning("the source %s is skipped for the rest of this run: %s", name, error)


def _arrived(product: Product, source: str, file: FetchedFile, layout: Layout) -> Product:
    """The product with the facts about its content."""
    return replace(
        product, sha256=file.sha256, path=layout.relative(file.path) if file.path else None,
        size_bytes=file.size_bytes, source=source, etag=file.etag,
        fetched_version=product.archive_version, fetched_at=now_utc(),
    )  # fmt: skip


def _joined(failures: Mapping[str, ArchiveError]) -> ArchiveError:
    """One error for all sources, with the reason of the first that may have the file."""
    if len(failures) == 1:
        return next(iter(failures.values()))
    reasons = [getattr(error, "reason", "connection") for error in failures.values()]
    reason = next((reason for reason in reasons if reason != "missing"), "missing")
    return DownloadError(reason, "; ".join(f"{name}: {error}" for name, error in failures.items()))
