"""Batches in processes of their own, here and on a Dask cluster: the same files, rows and datasets as by threads."""

import pickle
from pathlib import Path

import duckdb
import pytest
from commands import SMALL, files_below, run

from flows._run import STOPPED, Connections
from flows._runners import fetch_share, runner_of
from hubbleclip.archives import open_archive
from hubbleclip.errors import ArchiveDownError, SettingsError
from hubbleclip.paths import Layout
from hubbleclip.settings import read_settings

NIGHT = SMALL | {"simulator.num_proposals": 10, "flows.batch_size": 6, "fetch.connections": 4}
ROWS = {
    "product": "uri, sha256, path, version", "tile": "tile_id, png_sha256, path", "rejection": "entity_id, stage, reason",
    "dataset": "digest, inputs_digest", "shard": "shard, sha256",
}  # fmt: skip


def built(data: Path, **flows: object) -> tuple[dict[str, list], dict[str, bytes]]:
    """Rows and files of a night, but for times."""
    outcome = run("dataset", data=data, settings=NIGHT | {f"flows.{name}": value for name, value in flows.items()})
    assert outcome.code == 0, outcome.err
    with duckdb.connect(str(data / "demo/catalog.duckdb"), read_only=True) as catalog:
        rows = {name: catalog.execute(f"SELECT {columns} FROM {name} ORDER BY ALL").fetchall()
                for name, columns in ROWS.items()}  # fmt: skip
    files = [path for folder in ("products", "tiles") for path in files_below(data / "demo" / folder)]
    files += [path for path in files_below(data / "demo/datasets") if path.suffix == ".tar"]
    return rows, {str(path.relative_to(data)): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def by_threads(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, list], dict[str, bytes]]:
    return built(tmp_path_factory.mktemp("threads"))


@pytest.mark.slow
@pytest.mark.parametrize("runner", ["processes", "dask"])
def test_processes_of_their_own_build_what_threads_build(by_threads, runner: str, tmp_path: Path) -> None:
    rows, files = by_threads
    assert rows["tile"] and len(rows["dataset"]) == 1
    assert built(tmp_path, runner=runner, workers=2) == (rows, files)


def sent(thing):
    return pickle.loads(pickle.dumps(thing))


def test_a_process_makes_one_of_its_own_of_what_is_sent_to_it_again_and_again() -> None:
    connections, other = Connections(3), Connections(3)
    there = sent(connections)
    assert there is sent(connections)
    assert there is not connections
    assert there is not sent(other)
    assert there.num == 3


def test_an_archive_crosses_to_another_process_with_its_settings(tmp_path: Path) -> None:
    settings = read_settings("hubble", {"data": str(tmp_path)})
    archive = open_archive(settings.archive, settings.fetch, Layout(settings.root))
    there = sent(archive)
    assert (there.settings, there.transport.fetch, there.layout) == (archive.settings, settings.fetch, archive.layout)


def test_an_error_that_ends_connections_elsewhere_comes_back_with_what_was_done() -> None:
    def work(item: int) -> dict[str, list]:
        if item == 2:
            raise ArchiveDownError("down")
        return {"product": [item]}

    with sent(Connections(1)) as there:
        batch = there.map(work, [1, 2, 3])
    assert batch["product"] == [1]
    assert [str(error) for error in batch[STOPPED]] == ["down"]


def test_processes_share_the_rate_limit_and_the_connections() -> None:
    settings = read_settings("demo", {"flows": {"runner": "dask", "workers": 4},
                                      "fetch": {"connections": 8, "requests_per_s": 10.0}})  # fmt: skip
    share = fetch_share(settings)
    assert (share.connections, share.requests_per_s) == (2, 2.5)
    assert fetch_share(read_settings("demo", {"flows": {"workers": 4}})) == read_settings("demo").fetch


def test_an_unknown_runner_is_refused() -> None:
    with pytest.raises(SettingsError, match="one of dask, processes, threads"):
        runner_of(read_settings("demo", {"flows": {"runner": "ray"}}))
