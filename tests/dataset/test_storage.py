"""Datasets behind a URL: a local S3 server, and the errors when it cannot be reached."""

import numpy as np
import pytest
import torch
from botocore.exceptions import EndpointConnectionError
from httpx import ConnectError
from synthetic_samples import build, contents, make_samples_with_pngs

from hubbleclip.core.errors import DatasetError
from hubbleclip.core.io import TooLargeError
from hubbleclip.dataset.build import read_dataset
from hubbleclip.dataset.loader import iterate_eval_images
from hubbleclip.dataset.publish import publish
from hubbleclip.dataset.reader import open_split
from hubbleclip.dataset.storage import open_storage, service_errors
from hubbleclip.dataset.verify import find_faults
from tests.archives.s3_servers import BUCKET, s3_of_the_environment
from tests.bad_server import BadServer, drip


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    """Two nights, so that some shards are in another folder."""
    root, (samples, pngs) = tmp_path_factory.mktemp("datasets"), make_samples_with_pngs()
    for num in (25, 40):
        built = build(samples[:num], pngs, root)
    return root / built.dataset.digest


@pytest.fixture(scope="module")
def remote(local):
    with s3_of_the_environment():
        yield publish(local, f"s3://{BUCKET}/datasets")


@pytest.mark.slow
def test_a_dataset_in_s3_reads_as_the_folder_it_was_published_from(local, remote):
    here, there = read_dataset(local), read_dataset(remote)
    assert remote == f"s3://{BUCKET}/datasets/{here.digest}"
    assert there.manifest.equals(here.manifest)
    for split in ("train", "val", "test"):
        one, other = open_split(here, split), open_split(there, split)
        assert np.array_equal(one.read_all_tiles(16), other.read_all_tiles(16))
        both = zip(iterate_eval_images(one, 8, 3), iterate_eval_images(other, 8, 3), strict=True)
        assert all(torch.equal(a, b) for a, b in both)
    tile_ids = here.manifest["tile_id"].to_pylist()[::-7]
    assert there.read_tile_images(tile_ids) == here.read_tile_images(tile_ids)


@pytest.mark.slow
def test_a_dataset_in_s3_is_verified_and_published_once_and_one_that_is_not_there_is_one_line(local, remote):
    assert list(find_faults(remote)) == []
    assert publish(local, f"s3://{BUCKET}/datasets") == remote
    with pytest.raises(DatasetError, match="has no dataset.json"):
        read_dataset(f"s3://{BUCKET}/nothing")
    with pytest.raises(DatasetError) as caught:
        publish(local, "s3://no-such-bucket/datasets")
    assert "\n" not in str(caught.value)


def test_errors_of_the_libraries_of_services_are_one_line():
    of_libraries = EndpointConnectionError(endpoint_url="http://there"), ConnectError("there")
    for error in (*of_libraries, OSError("there"), TooLargeError("there")):
        with pytest.raises(DatasetError, match="^s3://x cannot be reached .*there"), service_errors("s3://x"):
            raise error


def test_s3_without_its_library_says_what_to_install(monkeypatch):
    def refuse(name, *_):
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr("fsspec.filesystem", refuse)
    with pytest.raises(DatasetError, match=r"pip install 'hubbleclip\[cloud\]'"):
        open_storage("s3://bucket/x").read("s3://bucket/x/dataset.json")


def test_a_server_that_sends_single_bytes_is_given_up(monkeypatch):
    monkeypatch.setattr("hubbleclip.dataset.storage.REQUEST_S", 0.2)
    with BadServer(drip(b"0123456789", 0, pause_s=1)) as server, pytest.raises(DatasetError, match="cannot be reached"):
        open_storage(server.url).read_spans([(f"{server.url}/shard.tar", 0, 10)])


@pytest.mark.parametrize(("num_bytes", "most_s"), [(0, 60), (1000, 60.1), (300_000_000, 60 + 2**29 / 250_000)])
def test_a_response_may_take_a_minute_and_the_time_of_its_bytes_at_the_lowest_rate(num_bytes, most_s):
    timeout = open_storage("https://there/x").filesystem(num_bytes).client_kwargs["timeout"]
    assert timeout.sock_read == 60
    assert 60 + num_bytes / 250_000 <= timeout.total <= most_s + 1e-3


def test_an_unknown_kind_of_url_is_refused():
    with pytest.raises(DatasetError, match="nowhere://"):
        read_dataset("nowhere://x")


def test_any_fsspec_url_serves(local, tmp_path):
    there = read_dataset(f"file://{local}")
    assert open_split(there, "test").read_all_tiles(16).shape == (8, 16, 16)
    with pytest.raises(FileNotFoundError):
        open_storage(there.path).read_spans([(f"{there.path}/gone.tar", 0, 5)])
    address = publish(local, f"file://{tmp_path}/new/")
    assert address == f"file://{tmp_path}/new/{local.name}" and contents(tmp_path / "new" / local.name) == contents(
        local
    )
    assert list(find_faults(address)) == []
    size_bytes = open_storage(address).size_bytes(f"{address}/README.md")
    with pytest.raises(DatasetError, match=f"README.md has {size_bytes} bytes, more than {size_bytes - 1}"):
        open_storage(address).read(f"{address}/README.md", size_bytes - 1)
