"""The catalog: one writer, any number of readers, nothing lost by a kill."""

import os
import threading
import time
from contextlib import ExitStack, closing
from datetime import timedelta, timezone
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from valid_catalog import NOW, make

from benchmarks.synthetic_catalog import synthetic_rows
from hubbleclip.catalog.catalog import open_catalog, read_catalog
from hubbleclip.catalog.lock import catalog_lock
from hubbleclip.catalog.working_copy import writing_catalog
from hubbleclip.core.errors import CatalogError, CatalogLockedError, ContractError
from hubbleclip.core.layout import Layout
from hubbleclip.core.records import Attempt, Rejection, Watermark

MAKERS = str(Path(__file__).parents[1] / "contracts")
"""Folder of `valid_catalog`, for the programs that tests start."""


def mark(archive: str, mjd: float = 1.0) -> Watermark:
    return make(Watermark, archive=archive, released_mjd=mjd)


def rejection(entity_id: str) -> Rejection:
    return make(Rejection, entity_id=entity_id)


NUM_ROWS = 5000  # more than two of the vectors in which DuckDB processes rows


@pytest.mark.parametrize("num_known", [0, 1, NUM_ROWS - 1, NUM_ROWS])
def test_a_large_batch_updates_what_is_known_and_inserts_what_is_new(num_known: int, layout: Layout) -> None:
    """With list columns, and twice in one transaction, where an index sees what the transaction itself wrote."""
    ids = [str(index) for index in range(NUM_ROWS)]

    def rows(num: int, chip: int) -> pa.Table:
        corners = [[float(chip)] * 8] * num
        return synthetic_rows("tile", num, tile_id=ids[:num], chip=[chip] * num, corners_deg=corners)

    with writing_catalog(layout) as catalog:
        if num_known:
            catalog.upsert({"tile": rows(num_known, 1)})
        with catalog.transaction():
            catalog.upsert({"tile": rows(NUM_ROWS, 2)})
            catalog.upsert({"tile": rows(NUM_ROWS, 3)})
        rows = catalog.query(
            "SELECT chip, corners_deg[8] AS corner, count(*) AS num FROM tile GROUP BY ALL"
        ).to_pylist()
    assert rows == [{"chip": 3, "corner": 3.0, "num": NUM_ROWS}]


def test_what_is_written_inside_a_transaction_is_whole_or_not_there(layout: Layout) -> None:
    with writing_catalog(layout) as catalog:
        with pytest.raises(ContractError):
            catalog.upsert({"watermark": [mark("a")], "rejection": [rejection("x"), rejection("x")]})
        assert catalog.counts()["watermark"] == 0
        with pytest.raises(RuntimeError), catalog.transaction():
            catalog.upsert({"watermark": [mark("a")]})
            catalog.run("clear_failures", entity="product", stage="fetch", ids=["x"])
            raise RuntimeError
        assert catalog.counts()["watermark"] == 0
        with catalog.transaction():
            catalog.upsert({"watermark": [mark("a")]})
            catalog.upsert({"watermark": [mark("b")]})
        assert catalog.counts()["watermark"] == 2


def test_times_are_compared_in_utc_whatever_their_zone(layout: Layout) -> None:
    east = timezone(timedelta(hours=9))
    with writing_catalog(layout) as catalog:
        catalog.upsert({"attempt": [make(Attempt)]})
        counts = [
            catalog.named_query("waiting", now=(NOW + timedelta(seconds=s)).astimezone(east))[0]["num"] for s in (-1, 1)
        ]
        assert counts == [1, 0]


def test_readers_see_the_published_snapshot_while_a_flow_writes(layout: Layout) -> None:
    with writing_catalog(layout) as catalog:
        catalog.upsert({"watermark": [mark("a")]})
    with writing_catalog(layout) as catalog:
        catalog.upsert({"watermark": [mark("b")]})
        with read_catalog(layout) as reader:
            assert reader.counts()["watermark"] == 1
            with pytest.raises(CatalogError, match="read-only"):
                reader.query("DELETE FROM watermark")
        with duckdb.connect(str(layout.catalog), read_only=True) as plain:
            assert plain.execute("SELECT archive FROM watermark").fetchall() == [("a",)]
    with read_catalog(layout) as reader:
        assert reader.counts()["watermark"] == 2
    with writing_catalog(layout, publish_every_s=0.0) as catalog:
        catalog.upsert({"watermark": [mark("c")]})
        with read_catalog(layout) as reader:
            assert reader.counts()["watermark"] == 3


def test_the_snapshot_has_the_storage_version_that_older_duckdb_reads(layout: Layout) -> None:
    """Bytes 12 to 19 of the file are its storage version; 65 is DuckDB 1.2's (https://duckdb.org/docs/internals/storage)."""
    with writing_catalog(layout) as catalog:
        catalog.upsert({"watermark": [mark("a")]})
    assert int.from_bytes(layout.catalog.read_bytes()[12:20], "little") == 65
    elsewhere = layout.catalog.rename(layout.root / "copy.duckdb")  # it is a single file, without a log beside it
    with duckdb.connect(str(elsewhere), read_only=True) as plain:
        assert plain.execute("SELECT archive FROM watermark").fetchall() == [("a",)]


def test_a_lost_working_copy_is_taken_from_the_snapshot(layout: Layout) -> None:
    with writing_catalog(layout) as catalog:
        catalog.upsert({"watermark": [mark("a")]})
    layout.working_catalog.unlink()
    for name in (".catalog.duckdb.1.tmp", ".catalog.writing.duckdb.1.tmp", ".other.tmp"):
        (layout.root / name).touch()  # as a killed process leaves it
    with writing_catalog(layout) as catalog:
        assert catalog.counts()["watermark"] == 1
        assert [one.name for one in layout.root.glob(".*.tmp")] == [".other.tmp"]


def test_second_writer_is_told_who_holds_the_lock(layout: Layout) -> None:
    with writing_catalog(layout), pytest.raises(CatalogLockedError, match=f"process {os.getpid()} on "):  # noqa: SIM117
        with writing_catalog(layout):
            pass


def test_a_writer_waits_for_a_command_that_only_tests_the_lock(layout: Layout) -> None:
    test = ExitStack()
    test.enter_context(catalog_lock(layout))
    threading.Timer(0.1, test.close).start()
    with writing_catalog(layout) as catalog:
        catalog.upsert({"watermark": [mark("a")]})
    with read_catalog(layout) as catalog:
        assert len(catalog.rows("FROM watermark")) == 1


def test_a_missing_catalog_or_garbage_in_its_place_is_one_clear_line(layout: Layout) -> None:
    with pytest.raises(CatalogError, match="hubbleclip dataset"), read_catalog(layout):
        pass
    layout.root.mkdir(parents=True)
    layout.catalog.write_bytes(b"this is not a database" * 1000)
    with pytest.raises(CatalogError, match="move it away"), read_catalog(layout):
        pass


def test_a_run_that_writes_nothing_publishes_only_what_a_killed_one_has_written(layout: Layout) -> None:
    with writing_catalog(layout) as catalog:
        catalog.upsert({"watermark": [mark("a")]})
    before, published = layout.catalog.stat(), layout.catalog.read_bytes()
    with writing_catalog(layout):
        pass
    assert layout.catalog.stat().st_ino == before.st_ino
    with writing_catalog(layout) as catalog:
        catalog.upsert({"watermark": [mark("b")]})
    layout.catalog.write_bytes(published)  # as it was before the flow was killed
    os.utime(layout.catalog, ns=(before.st_mtime_ns, before.st_mtime_ns))
    with writing_catalog(layout):
        pass
    with read_catalog(layout) as catalog:
        assert catalog.counts()["watermark"] == 2


def test_a_reader_stops_a_query_without_end(layout: Layout) -> None:
    with writing_catalog(layout):
        pass
    with closing(open_catalog(layout.root, max_s=0.3)) as catalog:
        with pytest.raises(CatalogError, match=r"took more than 0.3 s: narrow the query, or move the file away"):
            catalog.query("SELECT count(*) FROM range(10_000_000) a, range(10_000_000) b")
        assert catalog.counts()["watermark"] == 0


@pytest.mark.parametrize("reopen_every", [64, 3, 1])
def test_a_snapshot_is_published_after_each_interval_and_the_file_is_reopened_then_or_more_often(
    reopen_every: int, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hubbleclip.catalog.working_copy.REOPEN_EVERY", reopen_every)
    start = int(time.monotonic()) + 100
    now = [start]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    with writing_catalog(layout, publish_every_s=60.0) as catalog:
        for seconds, is_due in ((0, True), (59, False), (60, True), (119, False), (120, True)):
            now[0], connection = start + seconds, catalog.connection
            catalog.upsert({"watermark": [mark(str(seconds))]})
            is_reopened = is_due or reopen_every == 1
            assert (layout.catalog.exists(), catalog.connection is not connection) == (is_due, is_reopened)
            layout.catalog.unlink(missing_ok=True)
