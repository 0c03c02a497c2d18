"""A catalog of an older schema is migrated completely or not at all; the next schema is made here."""

import shutil
from pathlib import Path
from typing import Any

import duckdb
import pytest
from valid_catalog import broken_rules, valid_rows

from hubbleclip.catalog import migrations
from hubbleclip.catalog.catalog import read_catalog
from hubbleclip.catalog.migrations import read_migrations
from hubbleclip.catalog.working_copy import writing_catalog
from hubbleclip.contracts.schema import tables
from hubbleclip.core.errors import CatalogError
from hubbleclip.core.layout import Layout

OLD = read_migrations()[-1][0]
NEW = OLD + 1
STEP = """
ALTER TABLE "tile" ADD COLUMN "colour" VARCHAR;
UPDATE "tile" SET "colour" = 'grey';
ALTER TABLE "product" ADD COLUMN "licence" VARCHAR;
CREATE TABLE "note" ("tile_id" VARCHAR PRIMARY KEY, "text" VARCHAR NOT NULL);
"""
ADDED = {"tile": {"colour": "grey"}, "product": {"licence": None}}
"""Value of each new column in the rows that were there before."""
Rows = dict[str, list[dict[str, Any]]]


@pytest.fixture(scope="module")
def old_catalog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    layout = Layout(tmp_path_factory.mktemp("old") / "demo")
    with writing_catalog(layout) as catalog:
        catalog.upsert(valid_rows())
    return layout.root


@pytest.fixture(autouse=True)
def _old(old_catalog: Path, layout: Layout) -> None:
    shutil.copytree(old_catalog, layout.root)


@pytest.fixture
def steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Add two migrations, as the next release may."""
    folder = tmp_path / "migrations"
    folder.mkdir()
    for version, name, sql in read_migrations():
        (folder / f"{version:04d}_{name}.sql").write_text(sql, encoding="utf-8")
    for version, name, sql in ((NEW, "colour", STEP), (NEW + 1, "last", "SELECT 1")):
        (folder / f"{version:04d}_{name}.sql").write_text(sql, encoding="utf-8")
    monkeypatch.setattr(migrations, "MIGRATIONS", folder)
    return folder


def rows_of(path: Path) -> Rows:
    with duckdb.connect(str(path), read_only=True) as connection:
        return {name: connection.sql(f'FROM "{name}" ORDER BY ALL').to_arrow_table().to_pylist() for name in tables()}


def migrated(before: Rows) -> Rows:
    return {name: [row | ADDED.get(name, {}) for row in rows] for name, rows in before.items()}


def test_a_migration_loses_no_row_and_fills_what_it_says(layout: Layout, steps: Path) -> None:
    before = rows_of(layout.catalog)
    with writing_catalog(layout) as catalog:
        assert broken_rules(catalog.query) == []
    assert rows_of(layout.catalog) == migrated(before)
    with read_catalog(layout) as catalog:
        assert catalog.rows("SELECT max(version) AS newest FROM migration") == [{"newest": NEW + 1}]
        assert catalog.rows("FROM note") == []
        assert catalog.rows("FROM search_abstracts('stars')")


def test_the_catalog_as_it_was_is_kept_once(layout: Layout, steps: Path) -> None:
    for version in (OLD, NEW + 9):
        layout.catalog_backup(version).write_bytes(b"from another release")
    before = rows_of(layout.catalog)
    for _ in range(2):
        with writing_catalog(layout):
            pass
        assert layout.catalog_backups() == [layout.catalog_backup(NEW)]
    assert rows_of(layout.catalog_backup(NEW)) == before


def test_views_of_another_release_are_defined_again(layout: Layout) -> None:
    with duckdb.connect(str(layout.working_catalog)) as connection:
        connection.execute("DROP VIEW coverage; COMMENT ON TABLE migration IS 'another'")
    with writing_catalog(layout):
        pass
    with read_catalog(layout) as catalog:
        assert "coverage" in {view["name"] for view in catalog.views()}
    assert layout.catalog_backups() == []


def test_a_new_catalog_runs_all_migrations_and_leaves_no_older_one(tmp_path: Path, steps: Path) -> None:
    with writing_catalog(Layout(tmp_path)) as catalog:
        assert [row["version"] for row in catalog.rows("FROM migration ORDER BY version")] == [OLD, NEW, NEW + 1]
    assert Layout(tmp_path).catalog_backups() == []


def test_a_reader_of_an_older_catalog_says_what_to_run(layout: Layout, steps: Path) -> None:
    with pytest.raises(CatalogError, match="run `hubbleclip tiles`"), read_catalog(layout):
        pass


def test_a_catalog_of_a_newer_release_is_refused_and_left_alone(layout: Layout) -> None:
    for path in (layout.catalog, layout.working_catalog):
        with duckdb.connect(str(path)) as connection:
            connection.execute("INSERT INTO migration VALUES (9999, 'future', now()::TIMESTAMP)")
    before = layout.working_catalog.read_bytes()
    for opened in (writing_catalog, read_catalog):
        with pytest.raises(CatalogError, match="9999.*use the hubbleclip that wrote it"), opened(layout):
            pass
    assert layout.working_catalog.read_bytes() == before


def test_a_log_without_a_whole_transaction_does_not_hold_up_a_migration(layout: Layout, steps: Path) -> None:
    before, closed = rows_of(layout.catalog), layout.working_catalog.read_bytes()
    log = layout.working_catalog.with_name(f"{layout.working_catalog.name}.wal")
    with duckdb.connect(str(layout.working_catalog)) as connection:
        connection.execute("CREATE TABLE notes AS SELECT range FROM range(1000)")
        torn = log.read_bytes()[:-9]
    layout.working_catalog.write_bytes(closed)
    log.write_bytes(torn)
    with writing_catalog(layout):
        pass
    assert rows_of(layout.catalog) == migrated(before)


def test_a_migration_that_fails_changes_nothing(layout: Layout, steps: Path) -> None:
    before, step = rows_of(layout.catalog), steps / f"{NEW:04d}_colour.sql"
    step.write_text(f"{STEP}FROM nowhere;", encoding="utf-8")
    with pytest.raises(CatalogError, match="nowhere"), writing_catalog(layout):
        pass
    assert rows_of(layout.working_catalog) == rows_of(layout.catalog) == before
    step.write_text(STEP, encoding="utf-8")
    with writing_catalog(layout):
        pass
    assert rows_of(layout.catalog) == migrated(before)
