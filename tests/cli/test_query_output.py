"""Rows of a query are written as a stream: equal content in every format, on standard output or in a file."""

import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from hubbleclip.catalog.user_sql import UserRows
from hubbleclip.cli.querying import TABLE_ROWS, print_query, write_query
from hubbleclip.core.errors import CatalogError, HubbleclipError

TABLE = pa.table({"name": ["a,b", None, "c"], "values": [[1, 2], None, []], "pair": [{"x": 1}, None, {"x": None}]})


def rows_of(table: pa.Table, max_chunksize: int = 2) -> UserRows:
    return UserRows(schema=table.schema, batches=iter(table.to_batches(max_chunksize=max_chunksize)))


@pytest.mark.parametrize("table", [TABLE, TABLE.slice(0, 0)], ids=["rows", "no rows"])
def test_a_file_and_standard_output_have_the_rows_in_every_format(
    table: pa.Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for form in ("csv", "json", "parquet"):
        write_query(rows_of(table), form, tmp_path / form)
        with io.TextIOWrapper(io.BytesIO()) as pipe:
            monkeypatch.setattr(sys, "stdout", pipe)
            print_query(rows_of(table), form)
            pipe.flush()
            assert pipe.buffer.getvalue() == (tmp_path / form).read_bytes()
    assert pyarrow.parquet.read_table(tmp_path / "parquet") == table
    assert json.loads((tmp_path / "json").read_text()) == table.to_pylist()
    read = pyarrow.csv.read_csv(tmp_path / "csv")
    assert read["name"].to_pylist() == [name or "" for name in table["name"].to_pylist()]
    if len(table):
        assert (
            read.to_pydict().items()
            >= {"values": ["[1, 2]", "", "[]"], "pair": ['{"x": 1}', "", '{"x": null}']}.items()
        )


@pytest.mark.parametrize("form", ["csv", "json", "parquet"])
def test_a_query_that_fails_midway_leaves_the_earlier_file(form: str, tmp_path: Path) -> None:
    def batches() -> Iterator[pa.RecordBatch]:
        yield from TABLE.to_batches()
        raise CatalogError("it takes too long")

    (tmp_path / "rows").write_text("earlier")
    with pytest.raises(CatalogError):
        write_query(UserRows(schema=TABLE.schema, batches=batches()), form, tmp_path / "rows")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["earlier"]


def test_a_long_table_is_printed_in_parts(capsys: pytest.CaptureFixture[str]) -> None:
    numbers = pa.table({"n": list(range(TABLE_ROWS + 1))})
    print_query(rows_of(numbers, 2 * TABLE_ROWS), "table")
    out = capsys.readouterr().out
    assert out.count("┃ n") == 2
    assert out.count("\n│") == TABLE_ROWS + 1


def test_a_file_needs_a_format_for_programs(tmp_path: Path) -> None:
    with pytest.raises(HubbleclipError, match="--format"):
        write_query(rows_of(TABLE), "table", tmp_path / "rows")
    assert not list(tmp_path.iterdir())
