"""A whole pipeline on a small simulated archive: done once, done again, with a new night."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest
from commands import SMALL, Rows, go, read_rows, run
from valid_catalog import broken_rules

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


def test_every_view_answers(undisturbed: Path) -> None:
    quiet = {"waiting_item", "proposal_without_tile", "rejection_count"}
    searches = {
        "cone": "FROM cone(0, 0, 180)",
        "box": "FROM box(0, 360, -90, 90)",
        "search_abstracts": "FROM search_abstracts('the of a')",
    }
    with read_catalog(Layout(undisturbed / "demo")) as catalog:
        names = [view["name"] for view in catalog.views()]
        silent = {name for name in names if not catalog.rows(searches.get(name, f"FROM {name}"))}
    assert silent <= quiet


def test_rules_of_the_contracts_hold(undisturbed: Path) -> None:
    with read_catalog(Layout(undisturbed / "demo")) as catalog:
        assert broken_rules(catalog.query) == []


def test_a_new_night_adds_and_moves_nothing(undisturbed: Path, tmp_path: Path) -> None:
    data = shutil.copytree(undisturbed, tmp_path / "data")
    before = rows(data)
    go("dataset", data=data, settings=SMALL | {"simulator.nights": 2})
    after = rows(data)
    for table in ("split", "tile", "proposal", "observation"):
        assert len(after[table]) > len(before[table])
        assert set(map(str, before[table])) <= set(map(str, after[table]))
