"""Where a product's bytes come from: the archive's own server, or a public copy of it in the cloud."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Protocol

from hubbleclip.archives.base import now_utc
from hubbleclip.archives.download import fetch_file
from hubbleclip.archives.landing import FetchedFile
from hubbleclip.archives.mast import MastClient
from hubbleclip.archives.s3 import Land, S3Source
from hubbleclip.archives.transport import Transport
from hubbleclip.errors import ArchiveDownError, ArchiveError, DownloadError
from hubbleclip.paths import Layout
from hubbleclip.records import Product
from hubbleclip.settings import FetchSettings

LOG = logging.getLogger(__name__)


class FileSource(Protocol):
    """One place that files come from."""

    def fetch(self, product: Product) -> FetchedFile:
        """The file in its final place, checked. Raises DownloadError, ArchiveDownError, DiskFullError."""


class MastSource:
    """The archive's own server."""

    def __init__(self, fetch: FetchSettings, transport: Transport, mast: MastClient, land: Land) -> None:
        self.transport = transport
        self.mast = mast
        self.land = land

    def fetch(self, product: Product) -> FetchedFile:
        """See FileSource.fetch."""
        try:
            url = self.mast.download_url(product.uri)
        except ArchiveError as error:
            raise DownloadError("refused", str(error)) from error
        return self.land(self.transport, url, product)


SOURCES: dict[str, Callable[[FetchSettings, Transport, MastClient, Land], FileSource]] = {
    "mast": MastSource,
    "s3": S3Source,
}
"""The sources by their names in `fetch.sources`."""


class FileSources:
    """The sources that the settings name, best first. Threads may share one object."""

    def __init__(
        self, fetch: FetchSettings, layout: Layout, transport: Transport, mast: MastClient, max_bytes: int | None = None
    ) -> None:
        self.layout = layout
        self.max_bytes = max_bytes
        self.contents: Mapping[tuple[str, int], str] = {}
        self.sources = {name: SOURCES[name](fetch, transport, mast, self._land) for name in fetch.sources}
        self._down: dict[str, ArchiveDownError] = {}
        self._lock = threading.Lock()

    def fetch(self, product: Product) -> Product:
        """The product on disk, checked, from the first source that gives it.

        A source that is down is left out from then on while another remains. Raises DownloadError with each source's
        reason, ArchiveDownError where no source serves, DiskFullError.
        """
        failures: dict[str, ArchiveError] = dict(self._down)
        for name in [name for name in self.sources if name not in self._down]:
            try:
                return self._delivered(product, name, self.sources[name].fetch(product))
            except ArchiveDownError as error:
                failures[name] = error
                self._leave_out(name, error)
            except DownloadError as error:
                failures[name] = error
        raise _joined(failures)

    def _land(self, transport: Transport, url: str, product: Product) -> FetchedFile:
        return fetch_file(
            transport,
            url,
            uri=product.uri,
            file_name=product.file_name,
            size_bytes=product.size_bytes,
            layout=self.layout,
            max_bytes=self.max_bytes,
            known=lambda etag, size_bytes: self.contents.get((etag, size_bytes)),
        )

    def _leave_out(self, name: str, error: ArchiveDownError) -> None:
        """Note that a source is down. Raises the error where no other source remains."""
        with self._lock:
            if name in self._down:
                return
            if len(self._down) + 1 == len(self.sources):
                raise error
            self._down[name] = error
        LOG.warning("the source %s is left out for the rest of this run: %s", name, error)

    def _delivered(self, product: Product, source: str, file: FetchedFile) -> Product:
        return replace(
            product,
            sha256=file.sha256,
            path=self.layout.relative(file.path),
            size_bytes=file.size_bytes,
            source=source,
            etag=file.etag,
            fetched_version=product.archive_version,
            fetched_at=now_utc(),
        )


def _joined(failures: Mapping[str, ArchiveError]) -> ArchiveError:
    """One error of all sources' errors, under the reason of the first that may have the file."""
    if len(failures) == 1:
        return next(iter(failures.values()))
    reasons = [getattr(error, "reason", "connection") for error in failures.values()]
    reason = next((reason for reason in reasons if reason != "missing"), "missing")
    return DownloadError(reason, "; ".join(f"{name}: {error}" for name, error in failures.items()))
