"""Attacks by queries: `hubbleclip sql` reads the catalog and nothing else, in bounded memory."""

from pathlib import Path

import pyarrow.parquet
import pytest
from commands import command

from hubbleclip.catalog.working_copy import writing_catalog
from hubbleclip.core.layout import Layout
from tests.attack.table import Attacks

pytestmark = [pytest.mark.nightly, pytest.mark.attack]
WIDE = "SELECT " + ", ".join(f"'tile ' || range || '{name}' AS {name}" for name in "abcdefghijkl") + " FROM range({})"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    with writing_catalog(Layout(tmp_path / "demo")):
        pass
    return tmp_path


@pytest.mark.parametrize(
    ("name", "query"),
    [
        ("sql overwrites a file", "COPY (SELECT 1) TO '{folder}/shard.tar'"),
        ("sql reads /etc/passwd", "SELECT * FROM read_text('/etc/passwd')"),
        ("sql lists a folder", "SELECT * FROM glob('/etc/*')"),
        ("sql runs two statements", "SELECT 1; ATTACH '{folder}/new.duckdb'"),
        ("sql downloads an extension", "INSTALL httpfs"),
        ("sql unlocks itself", "SET enable_external_access = true"),
    ],
)
def test_a_query_that_does_more_than_read_ends_in_one_line(name: str, query: str, data: Path, attacks: Attacks) -> None:
    (data / "shard.tar").write_bytes(b"shard")
    ending = attacks.run(name, command("sql", query.format(folder=data), data=data), deadline_s=60)
    assert (ending.code, len(ending.err.splitlines()), ending.out) == (2, 1, "")
    assert (data / "shard.tar").read_bytes() == b"shard"
    assert not (data / "new.duckdb").exists()


@pytest.mark.parametrize(
    ("name", "query"),
    [
        ("sql never ends", "SELECT count(*) FROM range(10_000_000) a, range(10_000_000) b"),
        ("sql makes a text of 3 GB", "SELECT repeat('x', 3_000_000_000)"),
        ("sql makes a list of 8 GB", "SELECT range(1_000_000_000)"),
        ("sql compares long texts", "SELECT damerau_levenshtein(repeat('a', 100_000), repeat('b', 100_000))"),
    ],
)
def test_a_query_without_end_or_bounds_is_stopped(name: str, query: str, data: Path, attacks: Attacks) -> None:
    ending = attacks.run(name, command("sql", query, "--max-s", "1", data=data), deadline_s=60)
    assert (ending.code, len(ending.err.splitlines())) == (2, 1)
    assert "stopped after 1 s" in ending.err or "emory" in ending.err


@pytest.mark.parametrize("form", ["csv", "json", "parquet"])
def test_five_million_rows_are_streamed_into_a_file(form: str, data: Path, attacks: Attacks) -> None:
    num, out = 5_000_000 if form == "parquet" else 500_000, data / "rows"
    words = command("sql", WIDE.format(num), "--format", form, "--out", str(out), data=data)
    ending = attacks.run(f"sql writes {num:,} rows as {form}", words, deadline_s=120)
    assert ending.code == 0
    if form == "parquet":
        assert pyarrow.parquet.ParquetFile(out).metadata.num_rows == num
