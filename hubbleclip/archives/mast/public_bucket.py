"""The public copy of the archive in the cloud (s3://stpubdata), read without credentials through s3fs.

An object's answer becomes one of requests, so that a file from S3 is resumed, timed, checked and settled by the very
code that fetches from MAST. Layout of the bucket as MAST's `path_lookup` tells it (astroquery.mast.cloud asks it too).
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Coroutine, Iterator, Mapping
from typing import Any
from urllib.parse import quote, urlsplit

import requests
from requests.structures import CaseInsensitiveDict

from hubbleclip.archives.http.client import CONNECT_TIMEOUT_S, DamagedError, RefusedError, Transport, user_agent
from hubbleclip.archives.http.content_store import FetchedFile
from hubbleclip.archives.mast.client import MastClient
from hubbleclip.config.settings import FetchSettings
from hubbleclip.core.errors import ArchiveError, ArchiveUnreachableError, DownloadError, SettingsError
from hubbleclip.core.records import Product

Land = Callable[[Transport, str, Product], FetchedFile]
"""Fetches the product's file from an address of the transport, to its place on the disk."""

PUBLIC_URI = "mast:hst/product/"
PUBLIC_PATH = "hst/public/"
MAX_ANSWER_BYTES = 1_000_000
REGION = "us-east-1"
ABSENT = frozenset({"missing", "denied"})
"""A bucket that may not be listed denies what it lacks."""
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
            answer = json.loads(b"".join(mast.transport.chunks(response, MAX_ANSWER_BYTES)))
            path = str(answer[uri]["path"]).lstrip("/")
    except (ArchiveError, RefusedError, DamagedError, requests.RequestException, KeyError, TypeError, ValueError):
        return None
    below = path.removeprefix(PUBLIC_PATH)
    return below if below != path and SAFE_PATH.fullmatch(below) else None


class S3Source:
    """Files of the public copy in the cloud, which does not have them all."""

    def __init__(self, fetch: FetchSettings, transport: Transport, mast: MastClient, land: Land) -> None:
        self.root = fetch.s3_root.rstrip("/")
        self.host = fetch.s3_endpoint or "s3.amazonaws.com"
        self.land = land
        self.mast = mast
        self.transport = S3Transport(fetch)
        self.transport.limiter = transport.limiter

    def fetch(self, product: Product) -> FetchedFile:
        """See FileSource.fetch; the reason is `missing` where the copy lacks the file."""
        for path in self._paths(product.uri):
            try:
                return self.land(self.transport, f"{self.root}/{path}", product)
            except ArchiveUnreachableError as error:
                raise ArchiveUnreachableError(
                    f"cannot reach {self.host}: check the network and fetch.s3_endpoint"
                ) from error
            except DownloadError as error:
                if error.reason not in ABSENT:
                    raise
        raise DownloadError("missing", f"{product.uri} is not in {self.root}")

    def _paths(self, uri: str) -> Iterator[str]:
        """Where the file may stand, likeliest first: not all stand where their names say."""
        if not uri.lower().startswith(PUBLIC_URI):
            return
        told = public_path(uri.rpartition("/")[2].lower())
        if told is not None:
            yield told
        looked_up = looked_up_path(self.mast, uri)
        if looked_up not in {None, told}:
            yield looked_up


class S3Transport(Transport):
    """`s3://bucket/key` under the rules of a Transport. Threads may share it: s3fs runs one loop for all of them.

    Raises SettingsError where s3fs is not installed.
    """

    def __init__(self, fetch: FetchSettings) -> None:
        super().__init__(fetch)
        self.files = open_files(fetch)

    def _request(self, url: str, headers: Mapping[str, str]) -> requests.Response:
        """One GET of an object. S3's interface has no `If-Range`: for a part of another version the whole is asked."""
        parts, condition = urlsplit(url), {}
        if "Range" in headers:
            condition = {"Range": headers["Range"], "IfMatch": headers["If-Range"]}
        response = self._get(url, Bucket=parts.netloc, Key=parts.path.lstrip("/"), **condition)
        if condition and response.status_code == requests.codes.precondition_failed:
            response = self._get(url, Bucket=parts.netloc, Key=parts.path.lstrip("/"))
        return response

    def _get(self, url: str, **asked: str) -> requests.Response:
        answer = self._ask(self._get_object, **asked)
        metadata, response = answer.get("ResponseMetadata", {}), requests.Response()
        response.url, response.status_code = url, metadata.get("HTTPStatusCode", requests.codes.server_error)
        response.headers = CaseInsensitiveDict(metadata.get("HTTPHeaders", {}))
        response.raw = S3Body(answer["Body"], self._ask, self.files.loop) if "Body" in answer else io.BytesIO()
        return response

    async def _get_object(self, **asked: str) -> dict[str, Any]:
        """The answer of S3, also one that says no."""
        from botocore.exceptions import ClientError  # noqa: PLC0415 - comes with s3fs, which is optional

        try:
            answer: dict[str, Any] = await self.files._call_s3("get_object", **asked)
        except OSError as error:
            if not isinstance(error.__cause__, ClientError):
                raise
            answer = error.__cause__.response
        return answer

    def _ask(self, call: Callable[..., Coroutine[Any, Any, Any]], *args: Any, **kwargs: Any) -> Any:
        """Run a coroutine on s3fs's loop, within the time limit; what it raises becomes an error of requests."""
        from aiohttp import ClientError  # noqa: PLC0415 - comes with s3fs, which is optional
        from botocore.exceptions import BotoCoreError, ConnectionError  # noqa: PLC0415, A004
        from fsspec.asyn import sync  # noqa: PLC0415

        try:
            return sync(self.files.loop, call, *args, timeout=self.patience_s, **kwargs)
        except ConnectionError as error:
            raise requests.ConnectTimeout(str(error)) from error
        except TimeoutError as error:
            raise requests.ReadTimeout(f"S3 sent nothing in time: {error}") from error
        except (BotoCoreError, ClientError, OSError) as error:
            raise requests.ConnectionError(f"S3 broke off: {' '.join(str(error).split())[:160]}") from error


class S3Body:
    """The body of an object as a Transport reads one."""

    def __init__(self, body: Any, ask: Callable[..., Any], loop: Any) -> None:
        self._body = body
        self._ask = ask
        self._loop = loop

    def read1(self, size: int) -> bytes:
        """What has come, at most `size` bytes; empty at the end. Raises requests' errors."""
        data: bytes = self._ask(self._body.read, size)
        return data

    def close(self) -> None:
        """Give the connection back."""
        self._loop.call_soon_threadsafe(self._body.close)


def open_files(fetch: FetchSettings) -> Any:
    """An anonymous s3fs file system that retries nothing itself. Raises SettingsError where s3fs is not installed."""
    try:
        import s3fs  # noqa: PLC0415 - an optional extra, and slow to import
    except ImportError as error:
        raise SettingsError(
            "fetch.sources names s3, which needs s3fs: pip install 'hubbleclip[cloud]', or leave s3 out"
        ) from error
    files = s3fs.S3FileSystem(
        anon=True,
        endpoint_url=fetch.s3_endpoint or None,
        client_kwargs={"region_name": REGION},
        skip_instance_cache=True,
        config_kwargs={
            "connect_timeout": min(CONNECT_TIMEOUT_S, fetch.timeout_s),
            "read_timeout": fetch.timeout_s,
            "retries": {"max_attempts": 0},
            "max_pool_connections": fetch.connections,
            "user_agent_extra": user_agent(fetch.contact),
        },
    )
    files.retries = 1
    return files
