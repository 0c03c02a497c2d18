"""A whole pipeline on a small simulated archive: done once, done again, with a new night."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest
from commands import SMALL, Rows, read_rows, run

from hubbleclip.catalog.catalog import read_catalog
from hubbleclip.core.layout import Layout
from hubbleclip.pipeline.history import explain_tile

pytestmark = pytest.mark.slow

CHAIN = (
    "tile_settings",
    "archive_settings",
    "dataset_inputs",
    "dataset_code_version",
    "dataset_settings_digests",
    "shard_sha256",
    "product_uri",
    "product_version",
    "product_source",
    "obs_id",
    "proposal_id",
    "abstract_source",
    "abstract_provenance",
)
"""What `explain` tells of every sample."""
RUN_TABLES = {"run", "checkpoint", "metric", "report", "promotion"}


def rows(data: Path, profile: str = "demo") -> Rows:
    """All rows of the tables that a dataset is made of."""
    return read_rows(data / profile, *RUN_TABLES)


NEVER_AGAIN = SMALL | {"archive.relist_days": 0}
"""No list of products falls due when a day ends between two tests."""


@pytest.fixture(scope="module")
def undisturbed(finished_demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shutil.copytree(finished_demo, tmp_path_factory.mktemp("undisturbed") / "data")


def test_second_run_does_nothing(undisturbed: Path) -> None:
    data = undisturbed
    files = {path: path.stat().st_mtime_ns for path in (data / "demo").rglob("*.[ptf]*") if ".home" not in path.parts}
    before = rows(data)
    recorded = (data / ".prefect/prefect.db").stat().st_mtime_ns
    outcome = run("pipeline", data=data, settings=NEVER_AGAIN)
    assert outcome.code == 0, outcome.err
    assert "pipeline: nothing to do" in outcome.err
    assert {path.name for path in (data / "demo/reports").glob("*/*.*")} == {"index.html", "metrics.json"}
    assert (data / ".prefect/prefect.db").stat().st_mtime_ns == recorded  # no server was started
    assert rows(data) == before
    assert {path: path.stat().st_mtime_ns for path in files} == files


def test_every_sample_is_explained_from_its_bytes_to_its_abstract(undisturbed: Path) -> None:
    layout = Layout(undisturbed / "demo")
    with read_catalog(layout) as catalog:
        captions = {row["tile_id"]: row["captions"] for row in catalog.rows("SELECT tile_id, captions FROM sample")}
        chains = [explain_tile(catalog, layout, tile_id) for tile_id in captions]
    for chain in chains:
        with layout.absolute(chain["shard_path"]).open("rb") as shard:
            shard.seek(chain["offset"])
            assert hashlib.sha256(shard.read(chain["length"])).hexdigest() == chain["png_sha256"]
        product = layout.absolute(chain["product_path"]).read_bytes()
        assert hashlib.sha256(product).hexdigest() == chain["product_sha256"]
        assert chain["abstract"] == captions[chain["tile_id"]][0]
        missing = [name for name in CHAIN if not chain[name]]
        assert missing == [], chain["tile_id"]
        assert bool(chain["trained_runs"]) == (chain["split"] == "train")
    told = run("explain", chains[0]["tile_id"], "--json", data=undisturbed)
    assert json.loads(told.out)["png_sha256"] == chains[0]["png_sha256"]
