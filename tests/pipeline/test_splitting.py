"""Splits of a catalog that goes on: a scheme on request beside the random split, and a test list that is out."""

import json
import shutil
from pathlib import Path

import duckdb
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from commands import SMALL, Outcome, run

from hubbleclip.dataset.manifest import read_dataset
from hubbleclip.dataset.verify import find_faults

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def data(finished_demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shutil.copytree(finished_demo, tmp_path_factory.mktemp("splitting") / "data")


def shards(data: Path, **settings: object) -> Outcome:
    return run("shards", "--no-server", data=data, settings=SMALL | settings)


def datasets(data: Path) -> set[Path]:
    return {path.parent for path in data.glob("demo/datasets/*/dataset.json")}


def test_abstracts_that_come_later_exclude_the_side_in_train(data: Path) -> None:
    """A test proposal and a train proposal get the same abstract after their tiles were assigned."""
    before = {path.name for path in datasets(data)}
    with duckdb.connect(str(data / "demo/catalog.writing.duckdb")) as catalog:
        one_of = "SELECT min(proposal_id) FROM split JOIN tile USING (tile_id) WHERE split = ?"
        kept, lost = (catalog.execute(one_of, [split]).fetchone()[0] for split in ("test", "train"))
        num_lost = "SELECT count(*) FROM split JOIN tile USING (tile_id) WHERE proposal_id = ? AND split <> 'excluded'"
        (num,) = catalog.execute(num_lost, [lost]).fetchone()
        text = " ".join(f"word{i}" for i in range(99))
        catalog.execute("UPDATE proposal SET abstract = ? WHERE proposal_id IN (?, ?)", [text, kept, lost])
    outcome = shards(data)
    assert outcome.code == 0, outcome.err
    assert f"{num} tiles are excluded from now on" in outcome.err
    (made,) = (path for path in datasets(data) if path.name not in before)
    manifest = read_dataset(made).manifest
    assert not manifest.filter(pc.field("proposal_id") == lost).num_rows
    assert set(manifest.filter(pc.field("proposal_id") == kept)["split"].to_pylist()) == {"test"}
    assert json.loads((made / "dataset.json").read_text())["split_report"]["excluded"]["late_link"] == num
    assert pq.read_table(made / "excluded.parquet")["reason"].to_pylist().count("late_link") == num
    said = " ".join(run("status", data=data, settings=SMALL).out.split())
    assert f"{num} tiles: a proposal whose text now links it" in said, said
    assert list(find_faults(made)) == []
    assert shards(data).code == 0
    assert {path.name for path in datasets(data)} == {*before, made.name}
