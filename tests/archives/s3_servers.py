"""An S3 server on loopback."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import boto3
import pytest
from moto.server import ThreadedMotoServer
from s3fs import S3FileSystem

BUCKET = "stpubdata"


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
