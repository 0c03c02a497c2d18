"""A command looks for work first, and what it needs for that look is little."""

import subprocess
import sys

HEAVY = "prefect", "torch", "matplotlib", "numba", "astropy", "astroquery", "fastapi", "s3fs", "pyarrow.parquet"

LIGHT = "cli.app", "pipeline.ingest.run", "pipeline.pending_work", "simulator.__main__"
CODE = """
import sys
from importlib import import_module
for heavy, modules in (sys.argv[1:3], sys.argv[3:]):
    [import_module(f"hubbleclip.{module}") for module in modules.split()]
    print(modules, *set(sys.modules) & {*heavy.split()})
"""


def test_a_look_brings_in_no_heavy_library() -> None:
    """In one process: the modules that may import more come last."""
    parts = [(" ".join(HEAVY), " ".join(LIGHT)), (" ".join(HEAVY[:3]), "pipeline.shards search.open_index")]
    words = [sys.executable, "-c", CODE, *(word for part in parts for word in part)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [modules for _, modules in parts]
