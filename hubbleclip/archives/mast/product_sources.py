"""Where a product's bytes come from: the archive's own server, or a public copy of it in the cloud."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from typing import Protocol

from hubbleclip.archives.base import Delivery, Known, now_utc
from hubbleclip.archives.http.client import Transport
from hubbleclip.archives.http.content_store import SMALL_BYTES, FetchedFile
from hubbleclip.archives.http.download import fetch_file
from hubbleclip.archives.http.lane import Lanes, Transfer
from hubbleclip.archives.mast.client import MastClient
from hubbleclip.archives.mast.public_bucket import Land, S3Source
from hubbleclip.config.settings import FetchSettings
from hubbleclip.core.errors import ArchiveDownError, ArchiveError, DownloadError
from hubbleclip.core.io import sha256_bytes
from hubbleclip.core.layout import Layout, product_suffix
from hubbleclip.core.records import Product
from hubbleclip.fits.integrity import content_problem

LOG = logging.getLogger(__name__)
CORES = os.cpu_count() or 1
PREVIEWS = frozenset({".jpg", ".jpeg"})
"""Suffixes of files that are small also where the archive lists no size."""


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
        self.mast = mast
        self.max_bytes = max_bytes
        self.known: Known = lambda etag, size_bytes: None
        self.sources = {name: SOURCES[name](fetch, transport, mast, self._land) for name in fetch.sources}
        self.lanes = Lanes(transport) if fetch.sources == ("mast",) else None
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
                file = self.sources[name].fetch(product)
                told = _arrived(product, name, sha256=file.sha256, size_bytes=file.size_bytes, etag=file.etag)
                return replace(told, path=self.layout.relative(file.path))
            except ArchiveDownError as error:
                failures[name] = error
                self._leave_out(name, error)
            except DownloadError as error:
                failures[name] = error
        raise _joined(failures)

    def deliver_small(
        self, products: Iterable[Product], num_at_once: int = CORES
    ) -> Iterator[tuple[Product, Delivery | None]]:
        """Small files from the archive's own server, where it is the only source; see Archive.deliver_small. At most
        `num_at_once` threads work on what it brings, and the others wait; each has its share of the connections.
        """
        asked: list[tuple[Product, str]] = []
        for product in products:
            if self.lanes and self.lanes.is_open and self._is_small(product):
                asked.append((product, self.mast.download_url(product.uri)))
            else:
                yield product, None
        if self.lanes and asked:
            with self.lanes.one(num_at_once) as lane, closing(lane.answers(asked)) as answers:
                for product, transfer in answers:
                    delivery = None if transfer is None else self._delivery(product, transfer)
                    if delivery is not None:
                        self.lanes.transport.breaker.succeeded()
                    yield product, delivery

    def _is_small(self, product: Product) -> bool:
        """Whether a file is to be expected in one piece: what came of it before is gone on with elsewhere."""
        is_preview = product_suffix(product.file_name) in PREVIEWS
        size_bytes = product.size_bytes or (0 if is_preview else SMALL_BYTES + 1)
        is_begun = self.layout.part(product.uri).is_file()
        return size_bytes <= SMALL_BYTES and product.uri.startswith("mast:") and not is_begun

    def _delivery(self, product: Product, transfer: Transfer) -> Delivery | None:
        """A body that is what was asked for; None for another."""
        data = transfer.body
        if len(data) > (self.max_bytes or SMALL_BYTES):
            return None
        if content_problem(data, product_suffix(product.file_name), product.size_bytes) is not None:
            return None
        etag = transfer.headers().get("Etag", "")
        etag = "" if etag.startswith("W/") else etag.strip('"')
        told = _arrived(product, "mast", sha256=sha256_bytes(data), size_bytes=len(data), etag=etag or None)
        return Delivery(told, data)

    def _land(self, transport: Transport, url: str, product: Product) -> FetchedFile:
        return fetch_file(
            transport,
            url,
            uri=product.uri,
            file_name=product.file_name,
            size_bytes=product.size_bytes,
            layout=self.layout,
            max_bytes=self.max_bytes,
            known=self.known,
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


def _arrived(product: Product, source: str, *, sha256: str, size_bytes: int, etag: str | None) -> Product:
    """The product with what is known of its content, which stands nowhere yet."""
    return replace(
        product, sha256=sha256, path=None, size_bytes=size_bytes, source=source, etag=etag,
        fetched_version=product.archive_version, fetched_at=now_utc(),
    )  # fmt: skip


def _joined(failures: Mapping[str, ArchiveError]) -> ArchiveError:
    """One error of all sources' errors, under the reason of the first that may have the file."""
    if len(failures) == 1:
        return next(iter(failures.values()))
    reasons = [getattr(error, "reason", "connection") for error in failures.values()]
    reason = next((reason for reason in reasons if reason != "missing"), "missing")
    return DownloadError(reason, "; ".join(f"{name}: {error}" for name, error in failures.items()))
