"""Test splits that published datasets have frozen: a test tile stays a test tile."""

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
    """Check that no tile leaves a published test list.

    Parameters
    ----------
    datasets_dir
        Folder of all datasets; those of another lineage are ignored.
    split_of_tile
        New splits by tile id; tiles that no longer exist may be missing.
    settings
        Decide the lineage.

    Raises
    ------
    DatasetError
        When a tile has moved, or a test list is missing or damaged.

    """
    for path, description in _datasets_of_lineage(datasets_dir, settings):
        text = _read_test_list(path, description)
        # A tile that no longer exists (its image was cut again) does not break the list.
        moved = [tile_id for tile_id in text.split() if split_of_tile.get(tile_id, "test") != "test"]
        if moved:
            raise DatasetError(
                f"{len(moved)} test tiles of {path.name} are no longer in test, {moved[0]} among them: restore the"
                " catalog's split table or start a new profile, because a published test list never changes"
            )


def released_splits(datasets_dir: Path, settings: SplitSettings) -> dict[str, SplitAssignment]:
    """Read the assignments of all tiles in the datasets of this lineage, excluded tiles included.

    Parameters
    ----------
    datasets_dir
        Folder of all datasets.
    settings
        Decide the lineage.

    Returns
    -------
    dict[str, SplitAssignment]
        By tile id.

    """
    assignments: dict[str, SplitAssignment] = {}
    for path, _ in _datasets_of_lineage(datasets_dir, settings):
        packed = read_manifest(path).select(["tile_id", "group_id", "split"]).to_pylist()
        excluded = pq.read_table(path / EXCLUDED_TILES).select(["tile_id", "group_id", "reason"]).to_pylist()
        rows = [{**row, "reason": None} for row in packed] + [{**row, "split": EXCLUDED} for row in excluded]
        assignments |= {row["tile_id"]: SplitAssignment(**row) for row in rows}
    return assignments


def _datasets_of_lineage(datasets_dir: Path, settings: SplitSettings) -> list[tuple[Path, Mapping[str, Any]]]:
    """Finished datasets with the lineage of these settings; those of early versions have no test list."""
    return [
        (path, description)
        for path, description in finished_datasets(datasets_dir)
        if TEST_LIST in description.get("files", ()) and description[REPORT].get("lineage") == lineage(settings)
    ]


def _read_test_list(path: Path, description: Mapping[str, Any]) -> str:
    """Test list of a dataset; DatasetError if it is missing or differs from the hash in the description."""
    try:
        content = (path / TEST_LIST).read_bytes()
    except OSError as error:
        raise DatasetError(f"{path / TEST_LIST} cannot be read ({error}): restore it, or delete the folder") from error
    if sha256_bytes(content) != description["files"][TEST_LIST]:
        raise DatasetError(f"{path / TEST_LIST} is not what was released: restore it, or delete the folder")
    return content.decode("ascii")
