"""Rows into the catalog: ours, checked against the contract and repeatable, against bare duckdb into the same table."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import duckdb
import pyarrow as pa

from benchmarks.made import make_tile_rows
from benchmarks.measure import rate_row, report, seconds_row, time_in_turn
from benchmarks.peers import catalog as peer
from hubbleclip.catalog import writing_catalog
from hubbleclip.contracts import tables
from hubbleclip.paths import Layout

NUM_ROWS = 200_000


class Contenders:
    """The ways to write `rows`."""

    def __init__(self, rows: pa.Table) -> None:
        self.rows = rows

    @contextmanager
    def upsert(self, folder: Path) -> Iterator[Callable[[], object]]:
        """Ours, into an empty catalog."""
        with writing_catalog(Layout(folder)) as catalog:
            yield lambda: catalog.upsert({"tile": self.rows})

    @contextmanager
    def insert(self, folder: Path) -> Iterator[Callable[[], object]]:
        """The peer's, into the same table in a file of its own."""
        with duckdb.connect(str(folder / "peer.duckdb")) as connection:
            connection.execute(tables()["tile"].ddl())
            yield lambda: peer.insert(connection, "tile", self.rows)

    @contextmanager
    def publish(self, folder: Path) -> Iterator[Callable[[], object]]:
        """Close the working copy and publish it as the snapshot that people read."""
        with ExitStack() as stack:
            catalog = stack.enter_context(writing_catalog(Layout(folder)))
            catalog.upsert({"tile": self.rows})
            yield stack.close


def main() -> None:
    """Measure writing and publishing."""
    with tempfile.TemporaryDirectory() as folder:
        contenders = Contenders(make_tile_rows(NUM_ROWS, Path(folder)))
    written = time_in_turn(contenders.upsert, contenders.insert, runs=3)
    published = time_in_turn(contenders.publish, runs=3)
    report(
        "catalog",
        [
            rate_row(f"write {NUM_ROWS:,} tile rows", "rows/s", NUM_ROWS, written, peer.NAME),
            seconds_row(f"publish a snapshot of {NUM_ROWS:,} tile rows", published),
        ],
    )


if __name__ == "__main__":
    main()
