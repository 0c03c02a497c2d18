"""A command looks for work first, and what it needs for that look is little."""

import subprocess
import sys
from pathlib import Path

import pytest
from stages import listing, stage_at
from test_fetching import archive_at, listed, url  # noqa: F401 - a fixture

from hubbleclip.config.settings import read_settings
from hubbleclip.pipeline.ingest.run import poll

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


def test_there_is_work_until_all_is_listed_and_every_proposal_is_in(url: str, tmp_path: Path) -> None:  # noqa: F811
    with stage_at(tmp_path) as stage:
        archive = archive_at(url, stage)
    overrides = {"data": str(tmp_path), "fetch": {"files": False}}
    served = {"mast_url": url}
    assert poll(read_settings("demo", overrides | {"archive": served}))
    with stage_at(tmp_path, {"archive": served}) as stage:
        observations, _ = listed(archive)
        numbers = sorted({item.proposal_id.split(":")[1] for item in observations})
        proposals, _ = archive.fetch_proposals(numbers)
        found = [listing(stage.settings, item, item.fetched_at) for item in observations]
        stage.catalog.upsert({"listing": found, "proposal": proposals})
    assert not poll(read_settings("demo", overrides | {"archive": served}))
