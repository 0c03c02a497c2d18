"""What the catalog may take of the memory while it is written, and what it keeps there until it is in the file."""

import math
from dataclasses import replace

import pytest
from test_catalog import rejection

from hubbleclip.catalog.catalog import Catalog, read_catalog
from hubbleclip.catalog.lock import catalog_lock
from hubbleclip.catalog.working_copy import REOPEN_EVERY, writing_catalog
from hubbleclip.core.errors import CatalogLockedError
from hubbleclip.core.layout import Layout

BOUNDS = """SELECT current_setting('threads') AS threads, current_setting('memory_limit') AS memory,
current_setting('checkpoint_threshold') AS log, current_setting('temp_directory') AS spill"""


def in_memory_bytes(catalog: Catalog) -> int:
    rows = catalog.rows("SELECT memory_usage_bytes AS num FROM duckdb_memory() WHERE tag = 'IN_MEMORY_TABLE'")
    return int(rows[0]["num"])


def test_writers_bound_memory_and_threads_and_readers_memory_and_time(layout: Layout) -> None:
    with writing_catalog(layout, memory_mb=256) as catalog:
        expected = {"threads": 1, "memory": "256.0 MiB", "log": "4.0 MiB", "spill": str(layout.spill)}
        assert (catalog.rows(BOUNDS), catalog.max_s) == ([expected], math.inf)
    with read_catalog(layout) as catalog:
        assert (catalog.rows(BOUNDS)[0]["memory"], catalog.max_s) == ("2.0 GiB", 120)


@pytest.mark.slow
def test_what_does_not_fit_goes_through_files_of_the_profile_that_go_again(layout: Layout) -> None:
    with writing_catalog(layout, memory_mb=128) as catalog:
        sql = "CREATE TEMP TABLE large AS SELECT md5(i::VARCHAR) || md5((i + 1)::VARCHAR) AS text FROM range(3_000_000) t(i)"
        catalog.connection.execute(sql)
        assert list(layout.spill.iterdir())
        assert catalog.rows("SELECT count(*) AS num FROM large") == [{"num": 3_000_000}]
    assert not list(layout.spill.glob("*"))


@pytest.mark.slow
def test_rows_stay_in_memory_only_until_their_log_has_a_few_mib(layout: Layout) -> None:
    with writing_catalog(layout) as catalog:
        held: list[int] = []
        for batch in range(24):
            rows = [replace(rejection(f"{batch}-{place}"), detail="x" * 500) for place in range(2000)]
            catalog.upsert({"rejection": rows})
            held.append(in_memory_bytes(catalog))
    assert max(held[12:]) <= 1.5 * max(held[:12])


def test_the_catalog_is_opened_anew_with_its_rows_and_its_lock(layout: Layout) -> None:
    with writing_catalog(layout) as catalog:
        first = catalog.connection
        for number in range(REOPEN_EVERY):
            catalog.upsert({"rejection": [rejection(str(number))]})
        assert catalog.connection is not first
        second = catalog.connection
        catalog.upsert({"rejection": [rejection("0")]})
        assert catalog.connection is second
        assert catalog.counts()["rejection"] == REOPEN_EVERY
        with pytest.raises(CatalogLockedError), catalog_lock(layout):
            pass
