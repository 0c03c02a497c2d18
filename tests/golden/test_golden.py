"""What users hold must not change by accident: hashes of tiles, shards, splits, settings and the catalog's tables.

`make golden` compares them with `golden.json`; `make golden UPDATE=1` writes that file, which only a change that
CHANGELOG.md announces may do. NumPy computes the simulated files with AVX-512 where the processor has it, which changes
last digits of them; for other processors there is `golden_avx2.json`.
"""

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import duckdb
import pytest
from commands import run

from hubbleclip.config.settings import read_settings

HAS_AVX512 = "avx512f" in Path("/proc/cpuinfo").read_text(encoding="utf-8")
FILE = Path(__file__).with_name("golden.json" if HAS_AVX512 else "golden_avx2.json")
SMALL = {
    "archive.max_products_per_proposal": 6,
    "simulator.num_proposals": 24,
    "simulator.frame_px": 240,
    "tiles.size_px": 160,
    "tiles.min_side_px": 32,
    "tiles.views": ["native", "overview", "aim"],
    "splits.val_share": 0.2,
    "splits.test_share": 0.3,
    "shards.max_mb": 1,
}
PAIRS = str(Path(__file__).parents[2] / "experiments/pairs/pairs.toml")
PROFILES = ("demo", "hubble", "local", PAIRS, "paper")
DIGESTED = ("archive", "tiles", "captions", "splits", "shards", "model", "train", "evaluation")
"""Sections whose digests are stored beside results."""
NUM_FILES = 10


def digest_of(parts: Iterable[str | bytes]) -> str:
    """sha256 over the parts, each with its length before it."""
    total = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        total.update(f"{len(data)}:".encode() + data)
    return total.hexdigest()


def settings_digests() -> dict[str, dict[str, str]]:
    """Digests of every profile's settings that are stored beside results."""
    all_settings = {one.profile: one for one in map(read_settings, PROFILES)}
    return {profile: {name: getattr(one, name).digest() for name in DIGESTED} for profile, one in all_settings.items()}


def rows_digest(catalog: duckdb.DuckDBPyConnection, sql: str) -> str:
    return digest_of(repr(row) for row in catalog.execute(sql).fetchall())


def tile_digests(catalog: duckdb.DuckDBPyConnection, root: Path) -> dict[str, str]:
    """One digest over the tiles of each of ten files, chosen so that cameras and kinds of file differ."""
    files = catalog.execute(
        "SELECT p.uri FROM product p JOIN observation USING (obs_id) "
        "WHERE p.uri IN (SELECT product_uri FROM tile) "
        "ORDER BY row_number() OVER (PARTITION BY instrument, kind ORDER BY p.uri), p.uri LIMIT ?",
        [NUM_FILES],
    ).fetchall()
    found = {}
    for (uri,) in files:
        tiles = catalog.execute(
            "SELECT tile_id, path FROM tile WHERE product_uri = ? ORDER BY tile_id", [uri]
        ).fetchall()
        found[uri] = digest_of(part for tile_id, path in tiles for part in (tile_id, (root / path).read_bytes()))
    return found


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    data = tmp_path_factory.mktemp("golden")
    made = run("dataset", "--no-server", data=data, settings=SMALL)
    assert made.code == 0, made.err
    root = data / "demo"
    with duckdb.connect(str(root / "catalog.duckdb"), read_only=True) as catalog:
        (folder,) = (root / "datasets").glob("[!.]*")
        names = [*sorted(path.name for path in folder.glob("*.tar")), "manifest.parquet"]
        return {
            "tiles": tile_digests(catalog, root),
            "dataset": {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names},
            "inputs": catalog.execute("SELECT inputs_digest FROM dataset").fetchone()[0],
            "splits": rows_digest(catalog, "SELECT tile_id, split FROM split ORDER BY tile_id"),
            "groups": rows_digest(catalog, "SELECT tile_id, group_id FROM split ORDER BY tile_id"),
            "settings": settings_digests(),
            "tables": dict(
                catalog.execute("SELECT table_name, sha256(sql) FROM duckdb_tables() ORDER BY 1").fetchall()
            ),
            "views": rows_digest(catalog, "SELECT view_name, sql FROM duckdb_views() WHERE NOT internal ORDER BY 1"),
        }


@pytest.mark.slow
def test_what_users_hold_is_unchanged(measured: dict[str, Any]) -> None:
    if os.environ.get("UPDATE"):
        FILE.write_text(json.dumps(measured, indent=2) + "\n", encoding="utf-8")
    assert len(measured["tiles"]) == NUM_FILES
    recorded = json.loads(FILE.read_text(encoding="utf-8"))
    assert measured == recorded, "if the difference is meant, `make golden UPDATE=1` records it; say so in CHANGELOG.md"
