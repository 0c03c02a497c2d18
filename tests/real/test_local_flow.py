"""`make dataset PROFILE=local` on folders of real files, good and odd."""

import json
from pathlib import Path

import duckdb
import pytest
from commands import Outcome, run

from hubbleclip.dataset.verify import verify_dataset

SHARED = Path(__file__).parents[2].parent / "shared/data"
pytestmark = [
    pytest.mark.real,
    pytest.mark.slow,
    pytest.mark.skipif(not SHARED.is_dir(), reason="the folder of real Hubble files is not beside the project"),
]


def dataset(folder: str, data: Path, *more: str) -> Outcome:
    return run("dataset", "--no-server", "--local", str(SHARED / folder), *more, data=data, profile="local")


def rejected(data: Path) -> dict[str, str]:
    with duckdb.connect(str(data / "local/catalog.duckdb"), read_only=True) as catalog:
        return dict(catalog.execute("SELECT entity_id, reason FROM rejection WHERE entity = 'product'").fetchall())


def assert_every_product_is_accounted_for(data: Path, num_files: int) -> None:
    with duckdb.connect(str(data / "local/catalog.duckdb"), read_only=True) as catalog:
        products = {uri for (uri,) in catalog.execute("SELECT uri FROM product").fetchall()}
        tiled = {uri for (uri,) in catalog.execute("SELECT DISTINCT product_uri FROM tile").fetchall()}
    assert len(products) == num_files
    assert products == tiled | set(rejected(data))
    assert not tiled & set(rejected(data))


def test_real_files_become_tiles_and_shards(tmp_path: Path) -> None:
    outcome = dataset("hst_fits", tmp_path, "--proposals", str(SHARED / "proposals/abstracts.jsonl"))
    assert outcome.code == 0, outcome.err
    assert "Traceback" not in outcome.err
    assert_every_product_is_accounted_for(tmp_path, len(list((SHARED / "hst_fits").glob("*.fits*"))))
    assert set(rejected(tmp_path).values()) <= {"too_small", "all_invalid", "no_signal"}
    told = json.loads(run("status", "--json", data=tmp_path, profile="local").out)
    assert told["counts"]["sample"] > 20
    verify_dataset(Path(told["dataset"]))


def test_odd_files_are_rejected_one_by_one(tmp_path: Path) -> None:
    outcome = dataset("odd_fits", tmp_path)
    assert outcome.code == 0, outcome.err
    assert "Traceback" not in outcome.err
    assert_every_product_is_accounted_for(tmp_path, len(list((SHARED / "odd_fits").glob("*.fits*"))))
    assert "unexpected" not in rejected(tmp_path).values()
    assert len(rejected(tmp_path)) > 20
