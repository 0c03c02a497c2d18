"""Check that the test tiles of existing datasets stay test tiles, and read the splits of existing datasets.

A lineage is a series of datasets in which no tile ever changes its split; see `report.lineage`.
"""

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
from hubbleclip.dataset.splits.assign import PERMANENT
from hubbleclip.dataset.splits.caps import CAPS
from hubbleclip.dataset.splits.report import EXCLUDED_TILES, REPORT, lineage
from hubbleclip.dataset.splits.sky_guard import EXCLUDED


def check_test_lists(datasets_dir: Path, split_of_tile: Mapping[str, str], settings: SplitSettings) -> None:
    """Raise DatasetError unless all tiles in the test lists of existing datasets are still in test."""
    for path, description in _datasets_of_lineage(datasets_dir, settings):
        text = _read_test_list(path, description)
        # A listed tile that no longer exists is not an error, because the image may have been cut into other tiles.
        moved = [tile_id for tile_id in text.split() if split_of_tile.get(tile_id, "test") != "test"]
        if moved:
            raise DatasetError(
                f"{len(moved)} test tiles of dataset {path.name} are no longer in test, for instance {moved[0]}:"
                " restore the catalog's split table or start a new profile, because a published test list never changes"
            )


def released_splits(datasets_dir: Path, settings: SplitSettings) -> dict[str, SplitAssignment]:
    """Read the split assignments of all tiles in the existing datasets of one lineage, including excluded tiles."""
    assignments: list[SplitAssignment] = []
    for path, _ in _datasets_of_lineage(datasets_dir, settings):
        packed = read_manifest(path).select(["tile_id", "group_id", "split"]).to_pylist()
        excluded = pq.read_table(path / EXCLUDED_TILES).select(["tile_id", "group_id", "reason"]).to_pylist()
        rows = [{**row, "reason": None} for row in packed] + [{**row, "split": EXCLUDED} for row in excluded]
        assignments += [SplitAssignment(**row) for row in rows]
    # datasets are listed by digest and not by time, so the assignments are sorted: of a tile's assignments the last one
    # is returned, which has a permanent reason if any of them has one, and a cap only if all of them have one
    assignments.sort(key=lambda plan: (plan.reason in PERMANENT) - (plan.reason in CAPS))
    return {plan.tile_id: plan for plan in assignments}


def _datasets_of_lineage(datasets_dir: Path, settings: SplitSettings) -> list[tuple[Path, Mapping[str, Any]]]:
    """List the finished datasets of one lineage."""
    finished = finished_datasets(datasets_dir)
    return [(path, facts) for path, facts in finished if facts[REPORT].get("lineage") == lineage(settings)]


def _read_test_list(path: Path, description: Mapping[str, Any]) -> str:
    """Read the test list of a dataset; raise DatasetError if it is missing or its hash is not the recorded one."""
    try:
        content = (path / TEST_LIST).read_bytes()
    except OSError as error:
        raise DatasetError(f"{path / TEST_LIST} cannot be read ({error}): restore it, or delete the folder") from error
    if sha256_bytes(content) != description["files"][TEST_LIST]:
        raise DatasetError(f"{path / TEST_LIST} was changed after the release: restore it, or delete the folder")
    return content.decode("ascii")
