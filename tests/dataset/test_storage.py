"""Datasets behind a URL: a local S3 server, and the errors when it cannot be reached."""

import multiprocessing

import numpy as np
import open_clip
import pytest
import torch
import webdataset
from synthetic_samples import build, make_samples_with_pngs

from hubbleclip.config.settings import TrainSettings
from hubbleclip.core.errors import DatasetError
from hubbleclip.dataset.build import read_dataset
from hubbleclip.dataset.loader import iterate_batches, iterate_eval_images, open_train_batches
from hubbleclip.dataset.publish import publish
from hubbleclip.dataset.reader import open_split
from hubbleclip.dataset.storage import open_storage
from hubbleclip.dataset.verify import find_faults
from tests.archives.s3_servers import BUCKET, s3_of_the_environment
from tests.bad_server import BadServer, drip

SETTINGS = TrainSettings(steps=4, batch_size=4, workers=0, seed=5)
TOKENIZER = open_clip.SimpleTokenizer(context_length=16)


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
@pytest.mark.parametrize("workers", [0, 2])
def test_batches_streamed_from_s3_are_those_of_the_folder(local, remote, workers):
    def batches(place):
        opened = open_train_batches(
            open_split(read_dataset(place), "train"),
            SETTINGS.model_copy(update={"workers": workers}),
            image_size=8,
            tokenizer=TOKENIZER,
            context_length=16,
            cache_bytes=0,
        )
        assert opened.cached is None
        return list(iterate_batches(opened, 1, pin=False))

    for one, other in zip(batches(local), batches(remote), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.slow
def test_a_dataset_in_s3_is_verified_and_published_once(local, remote):
    assert list(find_faults(remote)) == []
    assert publish(local, f"s3://{BUCKET}/datasets") == remote


@pytest.mark.slow
def test_a_url_without_a_dataset_says_so(remote):
    with pytest.raises(DatasetError, match="has no dataset.json"):
        read_dataset(f"s3://{BUCKET}/nothing")


@pytest.mark.slow
def test_a_bucket_that_is_not_there_is_one_line(local, remote):
    with pytest.raises(DatasetError) as caught:
        publish(local, "s3://no-such-bucket/datasets")
    assert "\n" not in str(caught.value)


@pytest.mark.nightly
def test_an_endpoint_that_does_not_answer_is_one_line(monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        message = pool.apply(_error_of, ("s3://bucket/datasets",))
    assert "cannot be reached" in message
    assert "\n" not in message


def _error_of(place):
    try:
        read_dataset(place)
    except DatasetError as error:
        return str(error)
    return ""


def test_s3_without_its_library_says_what_to_install(monkeypatch):
    def refuse(name, *_):
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr("fsspec.filesystem", refuse)
    with pytest.raises(DatasetError, match=r"pip install 'hubbleclip\[cloud\]'"):
        open_storage("s3://bucket/x").read("s3://bucket/x/dataset.json")


@pytest.mark.parametrize("bytes_per_s", [1, 1_000])
def test_a_slow_download_is_given_time_by_its_size(monkeypatch, bytes_per_s):
    monkeypatch.setattr("hubbleclip.dataset.storage.REQUEST_S", 0.2)
    monkeypatch.setattr("hubbleclip.dataset.storage.MIN_BYTES_PER_S", bytes_per_s)
    with BadServer(drip(b"0123456789", 0)) as server:
        span = (f"{server.url}/shard.tar", 0, 10)
        if bytes_per_s == 1:
            assert open_storage(server.url).read_spans([span]) == [b"0123456789"]
        else:
            with pytest.raises(DatasetError):
                open_storage(server.url).read_spans([span])


def test_an_unknown_kind_of_url_is_refused():
    with pytest.raises(DatasetError, match="nowhere://"):
        read_dataset("nowhere://x")


def test_any_fsspec_url_serves(local):
    there = read_dataset(f"file://{local}")
    assert open_split(there, "test").read_all_tiles(16).shape == (8, 16, 16)
    with pytest.raises(FileNotFoundError):
        open_storage(there.path).read_spans([(f"{there.path}/gone.tar", 0, 5)])


def test_an_old_and_a_new_folder_are_streamed_by_their_addresses(local):
    info = read_dataset(local)
    keys = [
        row["__key__"] for urls in info.shards.values() for row in webdataset.WebDataset(list(urls), shardshuffle=False)
    ]
    assert sorted(keys) == info.manifest["tile_id"].to_pylist()
