"""A command looks for work first, and what it needs for that look is little."""

import subprocess
import sys

HEAVY = "prefect", "torch", "matplotlib", "numba", "astropy", "astroquery", "fastapi", "s3fs", "pyarrow.parquet"

LIGHT = "hubbleclip.cli.app, hubbleclip.pipeline.ingest.run, hubbleclip.pipeline.pending_work, hubbleclip.simulator.__main__"
LATER = "hubbleclip.pipeline.shards, hubbleclip.search.open_index"
"""Modules that may import more."""


def test_a_look_brings_in_no_heavy_library() -> None:
    parts = (LIGHT, HEAVY), (LATER, HEAVY[:3])
    code = "\n".join(f"import sys, {modules}; print({{*sys.modules}} & {{*{heavy}}})" for modules, heavy in parts)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["set()"] * 2
