"""Sources from which a product's file can be downloaded: the archive's own server, or a public copy in the cloud.

The public copy (s3://stpubdata) is read over HTTPS without credentials. The path of a file in the public copy is
derived from the names of the file and its observation, or requested from MAST's service `path_lookup`, which
astroquery.mast.cloud uses too.
"""

from __future__ import annotations

import logging
import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Protocol
from urllib.parse import quote

import requests

from hubbleclip.archives.base import Delivery, service_url
from hubbleclip.archives.http.download import NO_LIMIT_BYTES, DownloadRequest, FetchedFile, fetch_file, request_etag
from hubbleclip.archives.http.responses import ResponseError, parse_json
from hubbleclip.archives.mast.client import MastClient
from hubbleclip.core.errors import ArchiveDownError, ArchiveError, DownloadError
from hubbleclip.core.layout import Layout
from hubbleclip.core.records import Product
from hubbleclip.missions.archive import PublicBucket

LOG = logging.getLogger(__name__)
MAX_RESPONSE_BYTES = 1_000_000
SAFE_PATH = re.compile(r"(?!\.)[A-Za-z0-9_.+-]+(/(?!\.)[A-Za-z0-9_.+-]+)*")
"""Matches a relative path whose parts do not begin with a dot. A part `..` would lead out of the mission's folder."""


class FileSource(Protocol):
    """A server from which files can be downloaded."""

    name: str
    """Name of the source in messages."""
    absent: frozenset[str]
    """Values of `DownloadError.reason` which mean that there is no file at a URL, so that the next URL is tried."""

    def addresses(self, uri: str, obs_id: str, /) -> Iterable[str]:
        """List the URLs at which a file of an observation may be, the likeliest first.

        DownloadError is raised if this source cannot have the file.
        """


def public_path(file_name: str, bucket: PublicBucket, obs_id: str = "") -> str | None:
    """Derive a path in the mission's folder from lower-case file and observation names; None if no pattern matches."""
    names = f"{obs_id}/{file_name}"
    matches = ((pattern.fullmatch(names), template) for pattern, template in bucket.paths)
    return next((match.expand(template) for match, template in matches if match), None)


def looked_up_path(mast: MastClient, uri: str, bucket: PublicBucket) -> str | None:
    """Request a file's path from MAST, relative to the mission's folder; None if there is no valid response."""
    try:
        response = mast.transport.ask(f"{mast.url}/api/v0.1/path_lookup/?uri={quote(uri, safe='')}", MAX_RESPONSE_BYTES)
        path = str(parse_json(response.content)[uri]["path"]).lstrip("/")
    except (ArchiveError, ResponseError, requests.RequestException, KeyError, TypeError, ValueError):
        return None
    below = path.removeprefix(bucket.path_prefix)
    return below if below != path and SAFE_PATH.fullmatch(below) else None


def object_url(root: str, endpoint: str = "") -> str:
    """Convert an S3 URL to an HTTP URL, at Amazon's server if `endpoint` is empty."""
    bucket, _, prefix = root.removeprefix("s3://").strip("/").partition("/")
    base = f"{endpoint.rstrip('/')}/{bucket}" if endpoint else f"https://{bucket}.s3.amazonaws.com"
    return f"{base}/{quote(prefix)}".rstrip("/")


class S3Source:
    """Source of files in the public copy of the archive, in which some files are missing."""

    absent = frozenset({"missing", "denied"})
    """Values of `DownloadError.reason` which mean that the file is not in the bucket.

    The reason `denied` is included, because S3 responds 403 for a missing file if the client may not list the bucket.
    """

    def __init__(self, mast: MastClient, bucket: PublicBucket) -> None:
        self.name = mast.transport.fetch.s3_root
        self.url = object_url(self.name, service_url(mast.url))
        self.mast, self.bucket = mast, bucket

    def addresses(self, uri: str, obs_id: str) -> Iterator[str]:
        """See `FileSource.addresses`: a URL made from `uri` and `obs_id`, then a URL with a path from MAST."""
        if not uri.lower().startswith(self.bucket.uri_prefix):
            return
        named = public_path(uri.rpartition("/")[2].lower(), self.bucket, obs_id.lower())
        if named is not None:
            yield f"{self.url}/{quote(named)}"
        looked_up = looked_up_path(self.mast, uri, self.bucket)
        if looked_up not in {None, named}:
            yield f"{self.url}/{quote(looked_up or '')}"


SOURCES: dict[str, Callable[[MastClient, PublicBucket], FileSource]] = {"mast": lambda mast, _: mast, "s3": S3Source}
"""Constructor of each source, by its name in `fetch.sources`."""


class FileSources:
    """The file sources in `fetch.sources`, in the order in which they are tried. Threads may share one object.

    `bucket` is the mission's folder in the public copy of the archive. If no sources are set, and the variable
    AWS_REGION names the bucket's region, the bucket comes first.
    """

    def __init__(self, layout: Layout, mast: MastClient, bucket: PublicBucket, max_bytes: int = NO_LIMIT_BYTES) -> None:
        self.layout, self.transport, self.max_bytes = layout, mast.transport, max_bytes
        fetch = mast.transport.fetch
        is_near = os.environ.get("AWS_REGION") == bucket.region and "sources" not in fetch.model_fields_set
        names = ("s3", *fetch.sources) if is_near else fetch.sources
        self.sources: dict[str, FileSource] = {name: SOURCES[name](mast, bucket) for name in names}
        self._down: dict[str, ArchiveDownError] = {}
        self._lock = threading.Lock()

    def deliver(self, product: Product, *, is_kept: bool = True) -> Delivery:
        """Fetch a file from the first source that has it, and check it; see `Archive.fetch_product`.

        Later calls skip a source that is down, as long as another source works. Raises DownloadError with the reasons
        of all sources, or ArchiveDownError if all sources are down.
        """
        request = DownloadRequest(
            uri=product.uri,
            file_name=product.file_name,
            size_bytes=product.size_bytes,
            layout=self.layout,
            max_bytes=self.max_bytes,
            is_kept=is_kept,
        )
        failures: dict[str, ArchiveError] = dict(self._down)
        for name, source in self.sources.items():
            try:
                for url in source.addresses(product.uri, product.obs_id) if name not in failures else ():
                    try:
                        # only the last source is waited for if it does not respond
                        is_last = name == [other for other in self.sources if other not in self._down][-1]
                        file = fetch_file(self.transport, url, replace(request, is_waited_for=is_last))
                        return Delivery(_arrived(product, name, file, self.layout), file.data)
                    except DownloadError as error:
                        if error.reason not in source.absent:
                            raise
            except ArchiveDownError as error:
                failures[name] = error
                self._skip_source(name, error)
            except DownloadError as error:
                failures[name] = error
            failures.setdefault(name, DownloadError("missing", f"{product.uri} is not in {source.name}"))
        raise _joined(failures)

    def etag_of(self, product: Product) -> str | None:
        """Request the ETag of a file at the source from which it was fetched, as `request_etag` does."""
        source = self.sources.get(product.source or "")
        url = next(iter(source.addresses(product.uri, product.obs_id)), None) if source else None
        return request_etag(self.transport, url) if url else ""

    def _skip_source(self, name: str, error: ArchiveDownError) -> None:
        """Exclude a source that is down from later calls. Raises `error` if no other source works."""
        with self._lock:
            if name in self._down:
                return
            if len(self._down) + 1 == len(self.sources):
                raise error
            self._down[name] = error
        LOG.warning("the source %s is skipped for the rest of this run: %s", name, error)


def _arrived(product: Product, source: str, file: FetchedFile, layout: Layout) -> Product:
    """Return a copy of the product with the facts about its fetched file."""
    found = replace(product, sha256=file.sha256, size_bytes=file.size_bytes, etag=file.etag, source=source)
    path = layout.relative(file.path) if file.path else None
    return replace(found, path=path, fetched_version=product.archive_version, fetched_at=datetime.now(UTC))


def _joined(failures: Mapping[str, ArchiveError]) -> ArchiveError:
    """Combine the errors of all sources.

    The reason of the combined error is the first reason other than `missing`, or `missing` if there is no other reason.
    """
    if len(failures) == 1:
        return next(iter(failures.values()))
    reasons = [error.reason or "connection" for error in failures.values()]
    reason = next((reason for reason in reasons if reason != "missing"), "missing")
    return DownloadError(reason, "; ".join(f"{name}: {error}" for name, error in failures.items()))
