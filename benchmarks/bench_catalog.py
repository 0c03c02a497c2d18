"""The catalog at the size of a whole archive: writing against bare duckdb, publishing, views, searches and status.

Last, a reader polls the snapshot while another process writes.
"""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import duckdb
import pyarrow as pa

from benchmarks.measure import (
    Contender,
    Row,
    Seconds,
    each,
    progress,
    rate_row,
    report,
    seconds_row,
    sized,
    time_in_turn,
)
from benchmarks.peers import catalog as peer
from benchmarks.synthetic_catalog import make_catalog_rows, synthetic_rows
from benchmarks.synthetic_data import make_tile_rows
from hubbleclip.catalog.catalog import Catalog, read_catalog
from hubbleclip.catalog.migrations import migrate
from hubbleclip.catalog.working_copy import writing_catalog
from hubbleclip.config.settings import Settings, read_settings
from hubbleclip.core.layout import Layout
from hubbleclip.pipeline.status import read_status

NUM_OBSERVATIONS = sized(100_000, 2_000)
NUM_TILES = sized(1_000_000, 20_000)
RUNS = sized(3, 1)
NUM_READS = sized(9, 1)
POLL_EVERY_S = 0.1  # far more often than a person reloads a page
NUM_BATCHES, ROWS_PER_BATCH = sized(60, 6), 1000
ROW_VIEWS = {
    "sample_caption": "FROM sample_caption WHERE proposal_id = 'hst:77'",
    "product_history": "FROM product_history LIMIT 100",
}
"""Queries of the views that have a row per tile or file, as people write them; other views are read whole."""
SEARCHES = {
    "cone": "FROM cone(83.82, -5.39, 1)",
    "cone about the pole": "FROM cone(0, 90, 1)",
    "cone across RA 0": "FROM cone(0, 0, 1)",
    "box": "FROM box(359, 1, -1, 1)",
    "search_abstracts": "SELECT title, score FROM search_abstracts('dust around young stars in galaxies') LIMIT 10",
}


def writes(rows: pa.Table, table: str) -> tuple[Contender, Contender]:
    """Write rows into an empty table, our way and the peer's."""

    @contextmanager
    def upsert(folder: Path) -> Iterator[Callable[[], object]]:
        with writing_catalog(Layout(folder)) as catalog:
            yield lambda: catalog.upsert({table: rows})

    @contextmanager
    def insert(folder: Path) -> Iterator[Callable[[], object]]:
        with duckdb.connect(str(folder / "peer.duckdb")) as connection:
            migrate(connection)
            yield lambda: peer.insert(connection, table, rows)

    return upsert, insert


def publishing(layout: Layout) -> Contender:
    """Close the working copy and publish it as the snapshot that readers open."""

    @contextmanager
    def publish(_: Path) -> Iterator[Callable[[], object]]:
        with ExitStack() as stack:
            catalog = stack.enter_context(writing_catalog(layout))
            catalog.upsert({"dataset": catalog.query("FROM dataset")})  # a write, so that there is something to publish
            yield stack.close

    return publish


def repeated(work: Callable[[], object]) -> Contender:
    """Time a function that needs no preparation."""

    @contextmanager
    def prepared(_: Path) -> Iterator[Callable[[], object]]:
        yield work

    return prepared


def query_rows(catalog: Catalog) -> Iterator[Row]:
    """Measure every view, then the searches."""
    names = [view["name"] for view in catalog.views()]
    views = {name: ROW_VIEWS.get(name, f"FROM {name}") for name in names if name not in SEARCHES}
    for name, sql in each(list((views | SEARCHES).items()), lambda item: f"query {item[0]}"):
        seconds = time_in_turn(name, repeated(lambda sql=sql: catalog.query(sql)), runs=NUM_READS)
        yield seconds_row(name, seconds)
    ours = repeated(lambda: catalog.query("SELECT tile_id FROM cone(83.82, -5.39, 1)"))
    bare = repeated(lambda: catalog.query(peer.HAVERSINE))
    name = "ids in a cone"
    yield seconds_row(name, time_in_turn(name, ours, bare, runs=NUM_READS), peer.HAVERSINE_NAME)


def write_batches(root: Path) -> None:
    """Write tiles and their splits in many transactions, and publish every second: the work of the polled writer."""
    with tempfile.TemporaryDirectory() as folder:
        tiles = make_tile_rows(NUM_BATCHES * ROWS_PER_BATCH, Path(folder))
    with writing_catalog(Layout(root), publish_every_s=1.0) as catalog:
        for start in range(0, len(tiles), ROWS_PER_BATCH):
            batch = tiles.slice(start, ROWS_PER_BATCH)
            catalog.upsert({"tile": batch, "split": synthetic_rows("split", len(batch), tile_id=batch["tile_id"])})


def polling_row() -> Row:
    """Measure a reader that opens the snapshot every 100 ms while another process writes and publishes.

    An error, or a snapshot with an incomplete batch, ends the benchmark.
    """
    progress(f"polling the snapshot while another process writes {NUM_BATCHES} batches")
    took_s, states = [], set()
    with tempfile.TemporaryDirectory() as folder:
        layout = Layout(Path(folder))
        with writing_catalog(layout):
            pass
        writer = multiprocessing.get_context("spawn").Process(target=write_batches, args=(layout.root,))
        writer.start()
        while writer.is_alive():
            time.sleep(POLL_EVERY_S)
            start = time.perf_counter()
            with read_catalog(layout) as catalog:
                counts = catalog.counts()
            took_s.append(time.perf_counter() - start)
            states.add((counts["tile"], counts["split"]))
    if writer.exitcode or any(num_tiles != num_splits for num_tiles, num_splits in states):
        raise SystemExit(f"the writer ended with {writer.exitcode}; states seen: {sorted(states)}")
    name = f"read the snapshot while a flow writes: {len(took_s)} reads, {len(states)} states, no error"
    return seconds_row(name, Seconds(ours=tuple(took_s)))


def status_rows(settings: Settings) -> Iterator[Row]:
    """Measure `status`: the library call, and the whole command with the start of Python."""
    command = [sys.executable, "-m", "hubbleclip.cli.app", "status", "--data", str(settings.data)]
    yield seconds_row("status", time_in_turn("status", repeated(lambda: read_status(settings)), runs=sized(5, 1)))
    name = "status, the whole command"
    whole = repeated(lambda: subprocess.run(command, check=True, capture_output=True))
    yield seconds_row(name, time_in_turn(name, whole, runs=RUNS))


def main() -> None:
    """Measure writing, then queries of one large catalog."""
    with tempfile.TemporaryDirectory(prefix="hubbleclip-bench-") as folder:
        settings = read_settings("demo", {"data": folder})
        progress(f"making rows of {NUM_OBSERVATIONS:,} observations and {NUM_TILES:,} tiles")
        rows = make_catalog_rows(NUM_OBSERVATIONS, NUM_TILES, Path(folder), settings.tiles.digest())
        measured = []
        for table in ("observation", "tile"):
            num = len(rows[table])
            name = f"write {num:,} {table} rows"
            seconds = time_in_turn(name, *writes(rows[table], table), runs=RUNS)
            measured.append(rate_row(name, "rows/s", num, seconds, peer.NAME))
        layout = Layout(settings.root)
        with writing_catalog(layout) as catalog:
            for table, table_rows in each(list(rows.items()), lambda item: f"write {len(item[1]):,} rows of {item[0]}"):
                catalog.upsert({table: table_rows})
        rows.clear()  # frees the memory of the rows before the queries are timed
        published = time_in_turn(f"publish a snapshot of {NUM_TILES:,} tiles", publishing(layout), runs=RUNS)
        size_mb = layout.catalog.stat().st_size / 1e6
        measured.append(seconds_row(f"publish a snapshot of {NUM_TILES:,} tiles, {size_mb:.0f} MB", published))
        with read_catalog(layout) as catalog:
            measured += query_rows(catalog)
        measured += status_rows(settings)
    report("catalog", [*measured, polling_row()])


if __name__ == "__main__":
    main()
