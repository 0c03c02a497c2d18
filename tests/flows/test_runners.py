"""Batches in processes of their own, here and on clusters: the same files, rows, datasets and reports as by threads."""

import importlib.util
import os
import pickle
import shutil
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from commands import SMALL, ask, files_below, go
from stages import stage_at

from hubbleclip.archives import open_archive
from hubbleclip.config.settings import read_settings
from hubbleclip.core.errors import ArchiveDownError, ClusterError, SettingsError
from hubbleclip.core.io import sha256_file, write_bytes
from hubbleclip.core.layout import Layout
from hubbleclip.dataset.build import PlannedShard, write_shard
from hubbleclip.pipeline.engine.attempts import Step
from hubbleclip.pipeline.engine.batches import map_unordered, work_on
from hubbleclip.pipeline.engine.runners import RUNNERS, Submit, open_workers
from hubbleclip.pipeline.remote_store import collect_from_store, push
from hubbleclip.pipeline.shards import pack_shard, read_tile
from tests.dataset.synthetic_samples import make_samples_with_pngs

ROWS = {
    "product": "uri, sha256, path, version",
    "tile": "tile_id, png_sha256, path",
    "rejection": "entity_id, stage, reason",
    "dataset": "digest, inputs_digest",
    "shard": "shard, sha256",
}
RAY = pytest.param("ray", marks=pytest.mark.nightly)
Night = tuple[dict[str, list], dict[str, bytes]]


def built(data: Path, kept: Path, **settings: object) -> Night:
    """Rows and files of a night; files are `kept` here or in a store."""
    go("dataset", data=data, settings=SMALL | settings)
    return rows_and_files(data, kept)


def rows_and_files(data: Path, kept: Path) -> Night:
    """Rows of the catalog in `data`, but for times, and the files that are `kept` in a folder."""
    rows = {name: ask(data, f"SELECT {columns} FROM {name} ORDER BY ALL") for name, columns in ROWS.items()}
    files = [path for folder in ("products", "tiles") for path in files_below(kept / "demo" / folder)]
    files += [path for path in files_below(kept / "demo/datasets") if path.suffix == ".tar"]
    return rows, {str(path.relative_to(kept)): path.read_bytes() for path in files}


def report(data: Path, **settings: object) -> dict[str, bytes]:
    """The report of an evaluation."""
    go("evaluate", data=data, settings=SMALL | settings)
    return report_in(data)


def report_in(data: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in files_below(data / "demo/reports")}


def of_runner(name: str) -> dict[str, object]:
    if name == "ray" and importlib.util.find_spec("ray") is None:
        pytest.skip("ray is not installed")
    return {"flows.runner": name, "flows.workers": 2}


@pytest.fixture(scope="module")
def by_threads(finished_demo: Path) -> tuple[Night, dict[str, bytes]]:
    """Rows and files of a night, and the report."""
    night = rows_and_files(finished_demo, finished_demo)
    assert night[0]["tile"] and len(night[0]["dataset"]) == 1
    return night, report_in(finished_demo)


@pytest.fixture
def trained(finished_demo: Path, tmp_path: Path) -> Path:
    """A run that is not evaluated."""
    data = shutil.copytree(finished_demo, tmp_path / "run")
    shutil.rmtree(data / "demo/reports")
    return data


@pytest.mark.slow
@pytest.mark.parametrize("runner", ["processes", "dask", RAY])
def test_processes_of_their_own_build_what_threads_build(by_threads, runner: str, tmp_path: Path) -> None:
    assert built(tmp_path, tmp_path, **of_runner(runner)) == by_threads[0]


@pytest.mark.slow
@pytest.mark.parametrize("runner", ["processes", RAY])
def test_processes_of_their_own_embed_what_one_does(by_threads, trained: Path, runner: str) -> None:
    found = report(trained, **of_runner(runner))
    assert set(found) == {"index.html", "metrics.json"}
    assert found == by_threads[1]


@pytest.mark.slow
@pytest.mark.parametrize("address", ["", "distributed.LocalCluster"])
def test_a_dask_cluster_leaves_the_flow_its_threads_and_one_of_a_class_is_shared(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("distributed")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    addresses = set()
    for _ in range(2):
        with opened_cluster(address) as submit:
            assert submit(os.getpid).result() != os.getpid()
            assert "OMP_NUM_THREADS" not in os.environ
            addresses.add(submit.func.__self__.scheduler.address)
    assert len(addresses) == 1 or not address


@contextmanager
def opened_cluster(address: str) -> Iterator[Submit]:
    settings = read_settings("demo", {"flows": {"runner": "dask", "dask_address": address}})
    with open_workers(RUNNERS["dask"], settings.flows, 1) as submit:
        yield submit


@pytest.mark.parametrize(
    ("address", "error", "said"),
    [
        ("dask_jobqueue.Slurm", SettingsError, r"no class dask_jobqueue\.Slurm: correct flows"),
        ("tcp://127.0.0.1:9", ClusterError, r"tcp://127\.0\.0\.1:9 cannot be reached"),
    ],
)
def test_a_cluster_that_is_not_there_is_reported_in_one_line(address: str, error: type[Exception], said: str) -> None:
    pytest.importorskip("distributed")  # sets defaults, for good
    quick = pytest.importorskip("dask").config.set({"distributed.comm.timeouts.connect": "1s"})
    with quick, pytest.raises(error, match=said), opened_cluster(address):
        pass


def cluster_in(folder: Path, **options: int) -> AbstractContextManager[Any]:
    """A Dask cluster on this machine."""
    distributed = pytest.importorskip("distributed")
    return distributed.LocalCluster(dashboard_address=None, local_directory=str(folder / "dask"), **options)


@pytest.mark.nightly
@pytest.mark.parametrize("lost", ["workers", "scheduler"])
def test_a_batch_that_a_cluster_loses_is_reported_in_one_line(tmp_path: Path, lost: str) -> None:
    dask, _ = map(pytest.importorskip, ("dask", "distributed"))  # both, or the end of `set` takes all defaults away
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        cluster_in(tmp_path, n_workers=1) as cluster,
        pytest.raises(ClusterError, match="lost a batch"),
        opened_cluster(cluster.scheduler_address) as submit,
    ):
        batch = submit(*((os._exit, 1) if lost == "workers" else (time.sleep, 60)))
        if lost == "scheduler":
            cluster.close()
        batch.result(60)


def test_a_shard_written_elsewhere_comes_through_the_store_and_leaves_nothing_there(tmp_path: Path) -> None:
    samples, pngs = make_samples_with_pngs(6, 3)
    layout = Layout(tmp_path / "root", f"file://{tmp_path}/store", keep_local=False)
    paths = {tile_id: layout.relative(layout.tile(tile_id)) for tile_id in pngs}
    for tile_id, png in pngs.items():
        write_bytes(layout.tile(tile_id), png)
    push(layout, paths.values())
    shard = PlannedShard(path=layout.datasets / ".building-x/train-000000.tar", samples=samples, sidecars={})
    told = (shard, [paths[sample.tile_id] for sample in samples])
    tar = pack_shard(partial(write_shard, partial(read_tile, layout)), layout, True, told)
    assert files_below(layout.root) == []
    collect_from_store(layout, [shard.path])
    assert files_below(layout.root) == [shard.path]
    assert sha256_file(shard.path) == tar.sha256
    assert {path.suffix for path in files_below(tmp_path / "store")} == {".png"}


def sent(thing):
    return pickle.loads(pickle.dumps(thing))


def test_a_process_makes_one_archive_of_what_is_sent_to_it_again_and_again(tmp_path: Path) -> None:
    settings = read_settings("hubble", {"data": str(tmp_path)})
    archive, other = (open_archive(settings.archive, settings.fetch, Layout(settings.root)) for _ in range(2))
    there = sent(archive)
    assert there is sent(archive)
    assert there is not archive
    assert there is not sent(other)


STEP = Step(name="work", stage="tiles", entity="product", digest="d")


def halve(item: int) -> int:
    if item == 4:
        raise ArchiveDownError("down")
    return item // 2


def test_an_error_that_ends_a_chunk_elsewhere_comes_back_with_what_was_done() -> None:
    found = sent(work_on(STEP, halve, [2, 4, 6], 1))
    assert ((0, 1) in found.numbered, str(found.error)) == (True, "down")


@pytest.mark.parametrize("runner", ["threads", "chunks", pytest.param("processes", marks=pytest.mark.slow)])
def test_results_come_with_their_items_until_an_error_ends_the_work(
    runner: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(RUNNERS, "chunks", RUNNERS["threads"]._replace(is_separate=True))
    with stage_at(tmp_path, {"flows": {"runner": runner, "workers": 2}}) as stage:
        assert {*map_unordered(stage, STEP, halve, [10, 2, 6], 2)} == {(10, 5), (2, 1), (6, 3)}
        found = map_unordered(stage, STEP, halve, range(0, 1000, 4), 2)
        seen: list[tuple[int, int]] = []
        with pytest.raises(ArchiveDownError):
            seen.extend(found)
    assert (0, 0) in seen
    assert runner != "threads" or len(seen) < 240
