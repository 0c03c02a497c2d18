"""S3 servers on loopback: moto's, and one that answers as a test scripts it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import boto3
import pytest
from moto.server import ThreadedMotoServer
from s3fs import S3FileSystem

BUCKET = "stpubdata"
FITS = (
    b"SIMPLE  =                    T".ljust(80)
    + b"BITPIX  =                    8".ljust(80)
    + b"NAXIS   =                    1".ljust(80)
    + b"NAXIS1  =              2880000".ljust(80)
    + b"END".ljust(80)
).ljust(2880) + bytes(range(256)) * 11250


@contextmanager
def running_moto() -> Iterator[tuple[str, Callable[..., None]]]:
    """Address of an S3 server with the public bucket, and a function that puts a public object there."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    owner = boto3.client(
        "s3", endpoint_url=url, region_name="us-east-1", aws_access_key_id="owner", aws_secret_access_key="owner"
    )
    owner.create_bucket(Bucket=BUCKET, ACL="public-read")

    def put(key: str, body: bytes, acl: str = "public-read") -> None:
        owner.put_object(Bucket=BUCKET, Key=f"hst/public/{key}", Body=body, ACL=acl)

    yield url, put
    server.stop()


@contextmanager
def s3_of_the_environment() -> Iterator[None]:
    """Such a server as whatever reads the environment knows it: its address and its owner's keys."""
    with running_moto() as (url, _), pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": "owner",
            "AWS_SECRET_ACCESS_KEY": "owner",
            "AWS_DEFAULT_REGION": "us-east-1",
        }.items():
            patch.setenv(name, value)
        # fsspec keeps one instance per process, with the address at which it was made: that of an earlier test's server.
        S3FileSystem.clear_instance_cache()
        yield
    S3FileSystem.clear_instance_cache()


@contextmanager
def scripted_server(*answers: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """Address of a server that gives one answer a request, the last again and again, and its requests' headers."""
    left, seen = list(answers), []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append({name.lower(): value for name, value in self.headers.items()} | {"path": self.path})
            (left.pop(0) if len(left) > 1 else left[0])(self)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", seen
    server.shutdown()
    server.server_close()


def give(body: bytes, status: int = 200, length: int | None = None, **headers: str) -> Callable:
    """An answer; fewer bytes than `length` are a broken connection."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(body) if length is None else length))
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def give_rest(body: bytes) -> Callable:
    """The part of `body` that the request's Range asks for."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        start = int(handler.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        span = f"bytes {start}-{len(body) - 1}/{len(body)}"
        give(body[start:], 206, Content_Range=span, ETag=etag_of(body))(handler)

    return answer


def etag_of(body: bytes) -> str:
    """The version that S3 gives an object."""
    return f'"{hashlib.md5(body).hexdigest()}"'
