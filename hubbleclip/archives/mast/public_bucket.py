"""The public copy of the archive in the cloud (s3://stpubdata), read without credentials over HTTPS.

Layout of the bucket as MAST's `path_lookup` tells it (astroquery.mast.cloud asks it too).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from urllib.parse import quote

import requests

from hubbleclip.archives.http.client import DamagedError, RefusedError
from hubbleclip.archives.mast.client import MastClient
from hubbleclip.config.settings import FetchSettings
from hubbleclip.core.errors import ArchiveError
from hubbleclip.core.records import Product

PUBLIC_URI = "mast:hst/product/"
PUBLIC_PATH = "hst/public/"
MAX_ANSWER_BYTES = 1_000_000
EXPOSURE_FILE = re.compile(r"([a-z][a-z0-9]{8})(_[a-z0-9_]+)?(\.[a-z]+)+")
"""`j8pu0y010_drc.fits`: a rootname of nine, then the kind. Other names (`hst_...`) do not tell their folder."""
SAFE_PATH = re.compile(r"[A-Za-z0-9_.+-]+(/[A-Za-z0-9_.+-]+)*")


def public_path(file_name: str) -> str | None:
    """Where an exposure's or association's file stands below `hst/public`; None for names that do not tell it."""
    match = EXPOSURE_FILE.fullmatch(file_name)
    return f"{match[1][:4]}/{match[1]}/{file_name}" if match else None


def looked_up_path(mast: MastClient, uri: str) -> str | None:
    """The path below `hst/public` that MAST tells; None where it tells none, or cannot be asked."""
    try:
        with mast.transport.open(f"{mast.url}/api/v0.1/path_lookup/?uri={quote(uri, safe='')}") as response:
            answer = json.loads(b"".join(mast.transport.iter_chunks(response, MAX_ANSWER_BYTES)))
            path = str(answer[uri]["path"]).lstrip("/")
    except (ArchiveError, RefusedError, DamagedError, requests.RequestException, KeyError, TypeError, ValueError):
        return None
    below = path.removeprefix(PUBLIC_PATH)
    return below if below != path and SAFE_PATH.fullmatch(below) else None


def object_url(root: str, endpoint: str = "") -> str:
    """The address of `s3://bucket/prefix` over HTTP: Amazon's, or below that of another S3 server."""
    bucket, _, prefix = root.removeprefix("s3://").strip("/").partition("/")
    base = f"{endpoint.rstrip('/')}/{bucket}" if endpoint else f"https://{bucket}.s3.amazonaws.com"
    return f"{base}/{quote(prefix)}".rstrip("/")


class S3Source:
    """Files of the public copy in the cloud, which does not have them all."""

    absent = frozenset({"missing", "denied"})
    """A bucket that may not be listed denies what it lacks."""

    def __init__(self, fetch: FetchSettings, mast: MastClient) -> None:
        self.name = fetch.s3_root
        self.url = object_url(fetch.s3_root, fetch.s3_endpoint)
        self.mast = mast

    def addresses(self, product: Product) -> Iterator[str]:
        """See FileSource.addresses: not all files stand where their names say."""
        if not product.uri.lower().startswith(PUBLIC_URI):
            return
        named = public_path(product.uri.rpartition("/")[2].lower())
        if named is not None:
            yield f"{self.url}/{quote(named)}"
        looked_up = looked_up_path(self.mast, product.uri)
        if looked_up not in {None, named}:
            yield f"{self.url}/{quote(looked_up or '')}"
