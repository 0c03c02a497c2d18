"""What datasets that are out have promised of their splits: a test tile stays a test tile."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from hubbleclip.config.settings import SplitSettings
from hubbleclip.core.errors import DatasetError
from hubbleclip.core.io import sha256_bytes
from hubbleclip.core.records import SplitAssignment
from hubbleclip.dataset.manifest import TEST_LIST, finished_datasets, read_manifest
from hubbleclip.dataset.splits.report import EXCLUDED_TILES, REPORT, lineage
from hubbleclip.dataset.splits.sky_guard import EXCLUDED


def check_test_lists(datasets_dir: Path, split_of_tile: Mapping[str, str], settings: SplitSettings) -> None:
    """Refuse splits that move a tile out of a test list that is out; a tile that is no more may be missing.

    Datasets of another lineage are another matter. Raises DatasetError that names the dataset and a tile.
    """
    for path, description in _kin(datasets_dir, settings):
        text = _read_test_list(path, description)
        moved = [tile_id for tile_id in text.split() if split_of_tile.get(tile_id, "test") != "test"]
        if moved:
            raise DatasetError(
                f"{len(moved)} test tiles of {path.name} are no longer test, {moved[0]} among them: bring back the"
                " catalog's split table, or start a new profile; a published test list never changes"
            )


def released_splits(datasets_dir: Path, settings: SplitSettings) -> dict[str, SplitAssignment]:
    """Assignments of all tiles in the datasets of this lineage, those left out included."""
    found: dict[str, SplitAssignment] = {}
    for path, _ in _kin(datasets_dir, settings):
        packed = read_manifest(path).select(["tile_id", "group_id", "split"]).to_pylist()
        excluded = pq.read_table(path / EXCLUDED_TILES).select(["tile_id", "group_id", "reason"]).to_pylist()
        rows = [{**row, "reason": None} for row in packed] + [{**row, "split": EXCLUDED} for row in excluded]
        found |= {row["tile_id"]: SplitAssignment(**row) for row in rows}
    return found


def _kin(datasets_dir: Path, settings: SplitSettings) -> list[tuple[Path, Mapping[str, Any]]]:
    """Finished datasets of the lineage of these settings; those from before there were test lists promise nothing."""
    return [
        (path, description)
        for path, description in finished_datasets(datasets_dir)
        if TEST_LIST in description.get("files", ()) and description[REPORT].get("lineage") == lineage(settings)
    ]


def _read_test_list(path: Path, description: Mapping[str, Any]) -> str:
    try:
        content = (path / TEST_LIST).read_bytes()
    except OSError as error:
        raise DatasetError(f"{path / TEST_LIST} cannot be read ({error}): restore it, or delete the folder") from error
    if sha256_bytes(content) != description["files"][TEST_LIST]:
        raise DatasetError(f"{path / TEST_LIST} is not what was released: restore it, or delete the folder")
    return content.decode("ascii")
