"""Public copy of the archive in the cloud (s3://stpubdata), which is read over HTTPS without credentials.

A file's path in the bucket is derived from the names of the file and its observation, or requested from MAST's service
`path_lookup`, which astroquery.mast.cloud uses too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import quote

import requests

from hubbleclip.archives.base import service_url
from hubbleclip.archives.http.body_limits import parse_json
from hubbleclip.archives.http.response_errors import ResponseError
from hubbleclip.archives.mast.client import MastClient
from hubbleclip.config.settings import FetchSettings
from hubbleclip.core.errors import ArchiveError
from hubbleclip.core.records import Product
from hubbleclip.missions.base import PublicBucket

MAX_RESPONSE_BYTES = 1_000_000
SAFE_PATH = re.compile(r"(?!\.)[A-Za-z0-9_.+-]+(/(?!\.)[A-Za-z0-9_.+-]+)*")
"""Matches a relative path without hidden files and without `..`, which would lead out of the mission's folder."""


def public_path(file_name: str, bucket: PublicBucket, obs_id: str = "") -> str | None:
    """Derive a file's path in the mission's folder from lower-case names; None if they match no pattern."""
    names = f"{obs_id}/{file_name}"
    matches = ((pattern.fullmatch(names), template) for pattern, template in bucket.paths)
    return next((match.expand(template) for match, template in matches if match), None)


def looked_up_path(mast: MastClient, uri: str, bucket: PublicBucket) -> str | None:
    """Request a file's path in the mission's folder from MAST; None without a valid response."""
    try:
        with mast.transport.open(f"{mast.url}/api/v0.1/path_lookup/?uri={quote(uri, safe='')}") as response:
            result = parse_json(b"".join(mast.transport.iter_chunks(response, MAX_RESPONSE_BYTES)))
            path = str(result[uri]["path"]).lstrip("/")
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

    def __init__(self, fetch: FetchSettings, mast: MastClient, bucket: PublicBucket) -> None:
        self.name = fetch.s3_root
        self.url = object_url(fetch.s3_root, service_url(mast.url))
        self.mast = mast
        self.bucket = bucket

    def addresses(self, product: Product) -> Iterator[str]:
        """See `FileSource.addresses`. The URL made from the names comes first, then the URL that MAST gives."""
        if not product.uri.lower().startswith(self.bucket.uri_prefix):
            return
        named = public_path(product.uri.rpartition("/")[2].lower(), self.bucket, product.obs_id.lower())
        if named is not None:
            yield f"{self.url}/{quote(named)}"
        looked_up = looked_up_path(self.mast, product.uri, self.bucket)
        if looked_up not in {None, named}:
            yield f"{self.url}/{quote(looked_up or '')}"
