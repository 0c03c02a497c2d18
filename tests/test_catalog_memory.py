"""What the catalog may take of the memory while it is written, and what it keeps there until it is in the file."""

from dataclasses import replace
from pathlib import Path

from test_catalog import rejection

from flows._stage import bounded_catalog
from hubbleclip.catalog import Catalog
from hubbleclip.paths import Layout
from hubbleclip.settings import FlowSettings

BOUNDS = "SELECT current_setting('threads') AS threads, current_setting('memory_limit') AS memory"


def in_memory_bytes(catalog: Catalog) -> int:
    rows = catalog.rows("SELECT memory_usage_bytes AS num FROM duckdb_memory() WHERE tag = 'IN_MEMORY_TABLE'")
    return int(rows[0]["num"])


def test_a_flow_bounds_memory_and_threads_as_its_settings_say(tmp_path: Path) -> None:
    settings = FlowSettings(catalog_memory_mb=256, catalog_threads=1)
    with bounded_catalog(Layout(tmp_path), settings) as catalog:
        assert catalog.rows(BOUNDS) == [{"threads": 1, "memory": "256.0 MiB"}]


def test_what_does_not_fit_goes_through_files_of_the_profile_that_go_again(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    with bounded_catalog(layout, FlowSettings(catalog_memory_mb=128, catalog_threads=1)) as catalog:
        sql = "CREATE TEMP TABLE large AS SELECT md5(i::VARCHAR) || md5((i + 1)::VARCHAR) AS text FROM range(3_000_000) t(i)"
        catalog.connection.execute(sql)
        assert list(layout.spill.iterdir())
        assert catalog.rows("SELECT count(*) AS num FROM large") == [{"num": 3_000_000}]
    assert not list(layout.spill.glob("*"))


def test_rows_stay_in_memory_only_until_their_log_has_a_few_mib(tmp_path: Path) -> None:
    with bounded_catalog(Layout(tmp_path), FlowSettings()) as catalog:
        held: list[int] = []
        for batch in range(24):
            rows = [replace(rejection(f"{batch}-{place}"), detail="x" * 500) for place in range(2000)]
            catalog.upsert({"rejection": rows})
            held.append(in_memory_bytes(catalog))
    assert max(held[12:]) <= 1.5 * max(held[:12])
