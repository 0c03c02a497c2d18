"""SQL from outside reads the catalog and nothing else."""

import re
import subprocess
import sys
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from test_catalog import mark

from hubbleclip.catalog.user_sql import BATCH_ROWS, _reading, run_user_sql, stream_user_sql
from hubbleclip.catalog.working_copy import writing_catalog
from hubbleclip.core.errors import CatalogError
from hubbleclip.core.layout import Layout


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    layout = Layout(tmp_path_factory.mktemp("five") / "it's")
    with writing_catalog(layout) as catalog:
        catalog.upsert({"watermark": [mark(f"a{n}") for n in range(5)]})
    return layout


@pytest.mark.parametrize(
    ("sql", "num_rows"),
    [
        ("WITH w AS (FROM watermark) FROM w", 5),
        ("FROM cone(10, 20, 1)", 0),
        ("DESCRIBE watermark", 4),
        ("SHOW TABLES", 6),
        ("EXPLAIN FROM watermark", 1),
    ],
)
def test_reading_statements_run(sql: str, num_rows: int, layout: Layout) -> None:
    with _reading(layout, sql, 100) as reader:
        assert len(reader.read_all()) >= num_rows


def test_an_error_is_one_line(layout: Layout) -> None:
    with pytest.raises(CatalogError, match=r"\A[^\n]+nothing[^\n]+\Z"):
        run_user_sql(layout, "FROM\nnothing")


@pytest.mark.parametrize(
    "sql",
    [
        "COPY (SELECT 1) TO '{folder}/stolen.csv'",
        "SELECT * FROM read_text('{folder}/secret.txt')",
        "FROM '{folder}/secret.csv'",
        "SELECT * FROM glob('{folder}/*')",
        "ATTACH '{folder}/stolen.duckdb'",
        "INSTALL httpfs",
        "SELECT * FROM read_text('https://127.0.0.1/')",
        "SET enable_external_access = true",
        "DROP TABLE watermark",
        "EXPLAIN ANALYZE COPY (SELECT 1) TO '{folder}/stolen.csv'",
        "FROM watermark; DROP TABLE watermark",
        "SELECT getenv('HOME')",
        "FROM layout",
        "",
        "nonsense",
    ],
)
def test_nothing_else_runs(sql: str, layout: Layout, tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    (tmp_path / "secret.csv").write_text("a,b\n1,2\n")
    before = sorted([*tmp_path.rglob("*"), *layout.root.rglob("*")])
    failures = CatalogError, duckdb.Error, pa.ArrowException, OSError
    with pytest.raises(failures), _reading(layout, sql.format(folder=tmp_path), 10) as reader:
        reader.read_all()
    assert sorted([*tmp_path.rglob("*"), *layout.root.rglob("*")]) == before


def test_rows_are_limited(layout: Layout) -> None:
    max_rows = BATCH_ROWS + 3
    for num, is_more in ((1_000_000_000, True), (max_rows, False)):
        table, is_cut = run_user_sql(layout, f"FROM range({num})", max_rows=max_rows)
        assert (table.column(0).to_pylist(), is_cut) == (list(range(max_rows)), is_more)


def test_time_is_limited(layout: Layout) -> None:
    with pytest.raises(CatalogError, match="stopped after 0.3 s"):
        run_user_sql(layout, "SELECT count(*) FROM range(10_000_000) a, range(10_000_000) b", max_s=0.3)


@pytest.mark.slow
def test_rows_arrive_before_the_query_ends_and_all_of_them_without_a_limit(layout: Layout) -> None:
    with stream_user_sql(layout, "FROM range(1_000_000_000_000)", max_rows=None) as rows:
        assert next(rows.batches).num_rows
    with stream_user_sql(layout, f"FROM range({3 * BATCH_ROWS})", max_rows=None) as rows:
        assert sum(batch.num_rows for batch in rows.batches) == rows.num_rows == 3 * BATCH_ROWS
        assert not rows.is_cut


@pytest.mark.slow
def test_the_time_limit_holds_while_rows_are_read(layout: Layout) -> None:
    with (
        pytest.raises(CatalogError, match="stopped after"),
        stream_user_sql(layout, "FROM range(1_000_000_000_000)", max_rows=None, max_s=0.3) as rows,
    ):
        for _ in rows.batches:
            pass


@pytest.mark.slow
def test_memory_is_limited(layout: Layout) -> None:
    with pytest.raises(CatalogError, match="(?i)memory"):
        run_user_sql(
            layout, "SELECT list(a.range || 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx') FROM range(100_000_000) a"
        )


# In a process of its own: the kernel's peak of the children counts every child that the tests ever started.
ASK = """
import resource, sys
from pathlib import Path
from hubbleclip.catalog.user_sql import run_user_sql
from hubbleclip.core.errors import CatalogError
from hubbleclip.core.layout import Layout
try:
    run_user_sql(Layout(Path(sys.argv[1])), sys.argv[2], max_s=1)
except CatalogError as error:
    print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024, error)
"""


@pytest.mark.slow
@pytest.mark.parametrize("length", [500_000_000, 4_000_000_000])
def test_one_long_value_keeps_the_limits_of_time_and_memory(length: int, layout: Layout) -> None:
    sql = f"SELECT repeat('x', {length}) AS a, length(a || 'y')"
    done = subprocess.run([sys.executable, "-c", ASK, layout.root, sql], capture_output=True, text=True, check=True)
    peak, error = done.stdout.split(maxsplit=1)
    assert re.search("(?i)stopped after|memory", error)
    assert int(peak) < 1.5e9


@pytest.mark.parametrize(
    ("end", "message"),
    [
        ("echo 'ImportError: no duckdb' >&2; exit 1", "ImportError: no duckdb"),
        ("kill -9 $$", "memory"),
        ("cat rows; kill -9 $$", "memory"),  # between two batches
        ("cat rows; echo 'error: no room' >&2; exit 3", "^error: no room$"),
    ],
)
def test_the_end_of_the_process_is_told_as_it_was(
    end: str, message: str, layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\ncd {tmp_path}\n{end}\n")
    rows, written = pa.table({"a": [1]}), pa.BufferOutputStream()
    pa.ipc.new_stream(written, rows.schema).write_table(rows)
    (tmp_path / "rows").write_bytes(written.getvalue().to_pybytes())
    program.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(program))
    with pytest.raises(CatalogError, match=message):
        run_user_sql(layout, f"SELECT '{'x' * 1_000_000}'")  # more than a pipe holds
