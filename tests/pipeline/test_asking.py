"""A command looks for work first, and what it needs for that look is little."""

import subprocess
import sys

import pytest
from test_fetching import archive_at, listed, url  # noqa: F401 - a fixture

HEAVY = "prefect", "torch", "matplotlib", "numba", "astropy", "astroquery", "fastapi", "s3fs", "pyarrow.parquet"


@pytest.mark.parametrize(
    "module",
    [
        "hubbleclip.cli.app",
        "hubbleclip.pipeline.ingest.run",
        "hubbleclip.pipeline.pending_work",
        "hubbleclip.simulator.__main__",
        "hubbleclip.pipeline.shards, hubbleclip.search.open_index",
    ],
)
def test_a_look_brings_in_no_heavy_library(module: str) -> None:
    heavy = HEAVY[:3] if "," in module else HEAVY
    code = f"import sys, {module}; print(*set(sys.modules) & set({heavy!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
