"""Catalogs of every released version are migrated completely, also after a kill.

`catalogs/NNNN.duckdb.gz` was written by `hubbleclip dataset` of the code whose newest step was NNNN.
"""

import gzip
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import pytest

from hubbleclip.catalog.catalog import read_catalog
from hubbleclip.catalog.migrations import read_migrations
from hubbleclip.catalog.working_copy import writing_catalog
from hubbleclip.contracts.audit import broken_rules
from hubbleclip.contracts.schema import tables
from hubbleclip.core.errors import CatalogError
from hubbleclip.core.layout import Layout

STORED = sorted((Path(__file__).parents[1] / "catalogs").glob("*.duckdb.gz"))
VERSIONS = [int(path.name[:4]) for path in STORED]
NEWEST = read_migrations()[-1][0]
RELEASED = [1, 2]
FILLED = {"product": {"version", "source"}, "tile": {"size_bytes"}, "observation": {"query_digest"}}
"""Columns, by table, that a migration fills in existing rows."""


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> int:
    return request.param


@pytest.fixture
def layout(version: int, tmp_path: Path) -> Layout:
    """A profile of that version: the working copy and the snapshot that it was published as."""
    layout = Layout(tmp_path / "demo")
    layout.root.mkdir()
    stored = gzip.decompress(STORED[VERSIONS.index(version)].read_bytes())
    for path in (layout.catalog, layout.working_catalog):
        path.write_bytes(stored)
    return layout


def rows_of(path: Path) -> dict[str, list[dict]]:
    """Every row of every table of the contract that the file has."""
    with duckdb.connect(str(path), read_only=True) as connection:
        names = [name for (name,) in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()]
        contract_tables = [name for name in names if name in tables()]
        return {
            name: connection.sql(f'FROM "{name}" ORDER BY ALL').to_arrow_table().to_pylist() for name in contract_tables
        }


def assert_whole(path: Path, before: dict[str, list[dict]]) -> None:
    """All earlier rows are in the file, and columns added by migrations are empty or filled."""
    after = rows_of(path)
    for name, rows in before.items():
        columns = rows[0].keys() if rows else set()
        assert [{column: row[column] for column in columns} for row in after[name]] == rows
        for column in after[name][0].keys() - columns if rows else ():
            is_filled = [row[column] is not None for row in after[name]]
            assert all(is_filled) if column in FILLED.get(name, ()) else not any(is_filled), (name, column)


def test_every_released_version_is_stored() -> None:
    assert VERSIONS == RELEASED


def test_no_row_is_lost_on_the_way_forward(layout: Layout) -> None:
    before = rows_of(layout.catalog)
    assert len(before["tile"]) > 10
    with writing_catalog(layout) as catalog:
        assert broken_rules(catalog.query) == []
    assert_whole(layout.catalog, before)
    with read_catalog(layout) as catalog:
        assert catalog.rows("SELECT max(version) AS newest FROM migration") == [{"newest": NEWEST}]


def test_views_and_searches_read_what_came_forward(layout: Layout) -> None:
    with writing_catalog(layout):
        pass
    with read_catalog(layout) as catalog:
        (tile,) = catalog.rows("SELECT tile_id, ra_deg, dec_deg FROM tile ORDER BY tile_id LIMIT 1")
        near = catalog.rows("SELECT tile_id FROM cone($ra, $dec, 1e-6)", {"ra": tile["ra_deg"], "dec": tile["dec_deg"]})
        assert tile["tile_id"] in {row["tile_id"] for row in near}
        (first,) = catalog.rows("SELECT proposal_id, title FROM proposal ORDER BY 1 LIMIT 1")
        assert first["proposal_id"] in {
            row["proposal_id"] for row in catalog.rows("FROM search_abstracts($title)", {"title": first["title"]})
        }
        sizes = {row["stage"]: row for row in catalog.rows("FROM storage")}
        assert sizes["tiles"]["num_of_unknown_size"] == 0


def test_the_catalog_as_it_was_is_kept_once(version: int, layout: Layout) -> None:
    layout.catalog_backup(version).write_bytes(b"from the time before")
    before = rows_of(layout.catalog)
    with writing_catalog(layout):
        pass
    assert layout.catalog_backups() == [layout.catalog_backup(version + 1)]
    assert rows_of(layout.catalog_backup(version + 1)) == before
    with writing_catalog(layout):
        pass
    assert layout.catalog_backups() == [layout.catalog_backup(version + 1)]


def test_a_new_catalog_leaves_no_older_one(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "demo")
    with writing_catalog(layout):
        pass
    assert layout.catalog_backups() == []


def test_a_reader_of_an_older_catalog_says_what_to_run(layout: Layout) -> None:
    with pytest.raises(CatalogError, match="hubbleclip migrate"), read_catalog(layout):
        pass


def test_a_writer_refuses_a_newer_catalog_and_leaves_it_alone(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "demo")
    with writing_catalog(layout) as catalog:
        catalog.connection.execute("INSERT INTO migration VALUES (9999, 'future', now()::TIMESTAMP)")
    before = layout.working_catalog.read_bytes()
    with pytest.raises(CatalogError, match="9999.*upgrade hubbleclip"), writing_catalog(layout):
        pass
    assert layout.working_catalog.read_bytes() == before


OPENER = """
import sys
from pathlib import Path
from hubbleclip.catalog.working_copy import writing_catalog
from hubbleclip.core.layout import Layout
print("ready", flush=True)
sys.stdin.readline()
with writing_catalog(Layout(Path(sys.argv[1]))):
    print("done", flush=True)
"""


def test_killed_on_the_way_forward_nothing_is_lost(version: int, layout: Layout) -> None:
    """A migration killed at any moment leaves the old rows or the new ones, and the next start completes it."""
    before = rows_of(layout.catalog)
    rng = random.Random(version)
    old = layout.working_catalog.read_bytes()
    for _ in range(3):
        layout.working_catalog.write_bytes(old)
        arguments = [sys.executable, "-c", OPENER, str(layout.root)]
        with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as opener:
            assert opener.stdin is not None
            assert opener.stdout is not None
            assert opener.stdout.readline() == "ready\n"
            opener.stdin.write("go\n")
            opener.stdin.flush()
            time.sleep(rng.uniform(0, 0.3))
            opener.send_signal(signal.SIGKILL)
        backups = layout.catalog_backups()
        with writing_catalog(layout):
            pass
        assert_whole(layout.catalog, before)
        assert all(rows_of(path) == before for path in backups)
