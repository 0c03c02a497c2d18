"""The files of a dataset beside its shards, and its rows for the catalog, for made tiles of one or two nights.

The pictures are made bytes, so that every hash is the same on every machine.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from synthetic_samples import build, make_sample

from hubbleclip.core.records import Sample
from hubbleclip.dataset.build import BuiltDataset, read_dataset
from hubbleclip.dataset.card import dataset_card

NUM_TILES, NUM_GROUPS, NUM_FIRST = 45, 9, 20
WRITTEN = {
    "caption_kinds": ["abstract", "summary@rules-1.1", "phrases@small-1.1.7"],
    "captions": ["An abstract.", "Stars.", "star; sky"],
}
CASES: dict[str, dict[str, Any]] = {
    "simulated": {"archive": "simulated", "caption_source": "proposal"},
    "mixed": {},
    "jwst": {"archive": "jwst"},
    "local": {"archive": "local", "caption_source": "header", "pi": None},
}
"""Values that all tiles of a dataset have."""


def picture(number: int) -> bytes:
    return b"picture" * (1 + number)


def made_tile(number: int) -> Sample:
    """A tile of one of two archives, with the captions of one of two sources; one tile has no position."""
    group = number % NUM_GROUPS
    one = replace(make_sample(number, group, picture(number)), corners_deg=[], pi=f"Investigator {group}")
    one = replace(one, group_id=f"{group % 5:016x}", archive=("simulated", "hst")[group % 2])
    one = replace(one, **(WRITTEN if group == 4 else {}))
    return replace(
        one, caption_source="header" if group > 6 else "proposal", ra_deg=None if number == 3 else one.ra_deg
    )


def recorded(folder: Path, built: BuiltDataset) -> dict[str, Any]:
    """What is compared: hashes of Parquet files are left out, since they depend on the library that writes them."""
    info, row = read_dataset(folder), asdict(built.dataset)
    croissant = json.loads((folder / "croissant.json").read_text())
    late_s = abs(row["built_at"].timestamp() - (folder / "dataset.json").stat().st_mtime)
    row["built_at"] = f"{late_s:.1f} s after the description, {row['built_at'].tzinfo}"
    del croissant["@context"], croissant["recordSet"], croissant["distribution"][0]["sha256"]
    texts = [path for path in folder.rglob("*") if path.suffix in {".md", ".txt", ".properties", ".csv"}]
    return {path.relative_to(folder).as_posix(): path.read_text().splitlines() for path in texts} | {
        "card on a hub": dataset_card(dict(info.description), info.manifest, "png", "there/").splitlines(),
        "croissant": croissant,
        "description": {**info.description, "files": sorted(info.description["files"]), "self_sha256": None},
        "columns of the sky catalogue": pq.read_schema(folder / "sky/dataset/_metadata").names,
        "rows for the catalog": [row, *map(asdict, [*built.shards, *built.placements[::5]])],
    }


def test_files_beside_the_shards_are_those_recorded(tmp_path: Path, compare_recorded: Callable[..., None]) -> None:
    found, facts = {}, {"settings_digests": {"tiles": "t"}, "split_report": {"lineage": "random"}}
    facts |= {"code_version": "v1.2", "released_on": date(2026, 1, 2)}
    for case, values in CASES.items():
        tiles = [replace(made_tile(number), **values) for number in range(NUM_TILES)]
        pictures = {one.tile_id: picture(number) for number, one in enumerate(tiles)}
        for num in (NUM_FIRST, NUM_TILES)[case != "mixed" :]:  # two nights, or one
            built = build(tiles[:num], pictures, tmp_path / case, **facts)
        folder = tmp_path / case / built.dataset.digest
        found |= {f"{case}: {name}": content for name, content in recorded(folder, built).items()}
    compare_recorded("dataset.json", found)
