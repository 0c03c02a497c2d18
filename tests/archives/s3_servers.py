"""An S3 server on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import boto3
import pytest
from moto.server import ThreadedMotoServer
from s3fs import S3FileSystem

BUCKET = "stpubdata"


@contextmanager
def s3_of_the_environment() -> Iterator[None]:
    """Such a server with the public bucket, as whatever reads the environment knows it: its address and its owner's keys."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    url = "http://{}:{}".format(*server.get_host_and_port())
    named = {"AWS_ENDPOINT_URL": url, "AWS_DEFAULT_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "owner"}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (named | {"AWS_SECRET_ACCESS_KEY": "owner"}).items():
            patch.setenv(name, value)
        boto3.client("s3").create_bucket(Bucket=BUCKET)
        # fsspec keeps one instance per process, with the address at which it was made: that of an earlier test's server.
        S3FileSystem.clear_instance_cache()
        yield
    S3FileSystem.clear_instance_cache()
    server.stop()
