"""The catalog at the size of a whole archive: rows written beside bare duckdb, publishing, views, searches, status, and
a reader that polls the snapshot while another process writes.
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

from benchmarks.made import make_tile_rows
from benchmarks.made_catalog import made_rows, make_catalog_rows
from benchmarks.measure import Contender, Row, Seconds, rate_row, report, seconds_row, time_in_turn
from benchmarks.peers import catalog as peer
from hubbleclip.catalog.catalog import Catalog, read_catalog, writing_catalog
from hubbleclip.config.settings import Settings, read_settings
from hubbleclip.contracts.schema import tables
from hubbleclip.core.layout import Layout
from hubbleclip.pipeline.status import read_status

NUM_OBSERVATIONS = 100_000
NUM_TILES = 1_000_000
NUM_READS = 9
POLL_EVERY_S = 0.1
NUM_PARTS, ROWS_A_PART = 60, 1000
ROW_VIEWS = {
    "sample_caption": "FROM sample_caption WHERE proposal_id = 'hst:77'",
    "product_history": "FROM product_history LIMIT 100",
}
"""Views with a row a tile or file are asked as people ask them; the others whole."""
SEARCHES = {
    "cone": "FROM cone(83.82, -5.39, 1)",
    "cone about the pole": "FROM cone(0, 90, 1)",
    "cone across RA 0": "FROM cone(0, 0, 1)",
    "box": "FROM box(359, 1, -1, 1)",
    "search_abstracts": "SELECT title, score FROM search_abstracts('dust around young stars in galaxies') LIMIT 10",
}


def writes(rows: pa.Table, table: str) -> tuple[Contender, Contender]:
    """Ours and the peer's way to write rows into an empty table."""

    @contextmanager
    def upsert(folder: Path) -> Iterator[Callable[[], object]]:
        with writing_catalog(Layout(folder)) as catalog:
            yield lambda: catalog.upsert({table: rows})

    @contextmanager
    def insert(folder: Path) -> Iterator[Callable[[], object]]:
        with duckdb.connect(str(folder / "peer.duckdb")) as connection:
            connection.execute(tables()[table].ddl())
            yield lambda: peer.insert(connection, table, rows)

    return upsert, insert


def publishing(layout: Layout) -> Contender:
    """Close the working copy and publish it as the snapshot that people read."""

    @contextmanager
    def publish(_: Path) -> Iterator[Callable[[], object]]:
        with ExitStack() as stack:
            catalog = stack.enter_context(writing_catalog(layout))
            catalog.upsert({"dataset": catalog.query("FROM dataset")})
            yield stack.close

    return publish


def asking(ask: Callable[[], object]) -> Contender:
    """A question to what stands prepared."""

    @contextmanager
    def asked(_: Path) -> Iterator[Callable[[], object]]:
        yield ask

    return asked


def question_rows(catalog: Catalog) -> Iterator[Row]:
    """Every view, then the searches."""
    names = [view["name"] for view in catalog.views()]
    views = {name: ROW_VIEWS.get(name, f"FROM {name}") for name in names if name not in SEARCHES}
    for name, sql in (views | SEARCHES).items():
        yield seconds_row(name, time_in_turn(asking(lambda sql=sql: catalog.query(sql)), runs=NUM_READS))
    ours = asking(lambda: catalog.query("SELECT tile_id FROM cone(83.82, -5.39, 1)"))
    bare = asking(lambda: catalog.query(peer.HAVERSINE))
    yield seconds_row("ids in a cone", time_in_turn(ours, bare, runs=NUM_READS), peer.HAVERSINE_NAME)


def write_parts(root: Path) -> None:
    """Write tiles and their splits in many transactions, publishing every second: the work of the polled writer."""
    with tempfile.TemporaryDirectory() as folder:
        tiles = make_tile_rows(NUM_PARTS * ROWS_A_PART, Path(folder))
    with writing_catalog(Layout(root), publish_every_s=1.0) as catalog:
        for start in range(0, len(tiles), ROWS_A_PART):
            part = tiles.slice(start, ROWS_A_PART)
            catalog.upsert({"tile": part, "split": made_rows("split", len(part), tile_id=part["tile_id"])})


def polling_row() -> Row:
    """A read by one who opens the snapshot every 100 ms while another process writes and publishes.

    An error, or a state in which a batch is not whole, ends the benchmark.
    """
    took_s, states = [], set()
    with tempfile.TemporaryDirectory() as folder:
        layout = Layout(Path(folder))
        with writing_catalog(layout):
            pass
        writer = multiprocessing.get_context("spawn").Process(target=write_parts, args=(layout.root,))
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
    """What `status` takes: its part in the library, and the whole command with Python's start."""
    command = [sys.executable, "-m", "hubbleclip.cli.app", "status", "--data", str(settings.data)]
    yield seconds_row("status", time_in_turn(asking(lambda: read_status(settings)), runs=5))
    whole = asking(lambda: subprocess.run(command, check=True, capture_output=True))
    yield seconds_row("status, the whole command", time_in_turn(whole, runs=3))


def main() -> None:
    """Measure writing, then what is asked of one whole catalog."""
    with tempfile.TemporaryDirectory(prefix="hubbleclip-bench-") as folder:
        settings = read_settings("demo", {"data": folder})
        rows = make_catalog_rows(NUM_OBSERVATIONS, NUM_TILES, Path(folder), settings.tiles.digest())
        measured = []
        for table in ("observation", "tile"):
            seconds = time_in_turn(*writes(rows[table], table), runs=3)
            num = len(rows[table])
            measured.append(rate_row(f"write {num:,} {table} rows", "rows/s", num, seconds, peer.NAME))
        layout = Layout(settings.root)
        with writing_catalog(layout) as catalog:
            for table, those in rows.items():
                catalog.upsert({table: those})
        rows.clear()
        published = time_in_turn(publishing(layout), runs=3)
        size_mb = layout.catalog.stat().st_size / 1e6
        measured.append(seconds_row(f"publish a snapshot of {NUM_TILES:,} tiles, {size_mb:.0f} MB", published))
        with read_catalog(layout) as catalog:
            measured += question_rows(catalog)
        measured += status_rows(settings)
    report("catalog", [*measured, polling_row()])


if __name__ == "__main__":
    main()
