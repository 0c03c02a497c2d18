"""Report of a dataset's splits: shares by category and instrument, exclusion reasons, and leakage of a random split.

The splits and the test lists of existing datasets are read too, to check that test tiles stay test tiles. A lineage is
a series of datasets in which no tile ever changes its split.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from hubbleclip.config.settings import SplitSettings
from hubbleclip.core.errors import DatasetError
from hubbleclip.core.io import sha256_bytes
from hubbleclip.core.records import SplitAssignment, Tile
from hubbleclip.dataset.manifest import SPLIT_REPORT, TEST_LIST, finished_datasets, read_manifest
from hubbleclip.dataset.splits.assign import CAPS, PERMANENT
from hubbleclip.dataset.splits.continuations import Link
from hubbleclip.dataset.splits.material import Material
from hubbleclip.dataset.splits.schemes import RANDOM
from hubbleclip.dataset.splits.sky_guard import EXCLUDED

EXCLUDED_TILES = "excluded.parquet"
LINKS = "proposal_links.parquet"
UNKNOWN = "unknown"

Strata = dict[str, dict[str, dict[str, float]]]


def lineage(settings: SplitSettings) -> str:
    """Return the name of a dataset's lineage; within a lineage no tile ever changes its split."""
    return RANDOM if settings.scheme == RANDOM else f"{settings.scheme}-{settings.digest()}"


def split_report(
    material: Material,
    assignments: Mapping[str, SplitAssignment],
    *,
    links: Iterable[Link],
    leak: Mapping[str, int],
    settings: SplitSettings,
) -> dict[str, Any]:
    """Make a report of the splits.

    The report contains the sizes of the splits (in total, by category and by instrument), the numbers of links and of
    excluded tiles by reason, and the leakage of a random split.
    """
    tiles = material.tiles
    plans = [assignments[tile.tile_id] for tile in tiles]
    proposals = [material.proposals.get(tile.proposal_id) for tile in tiles]
    categories = [(proposal and proposal.category) or UNKNOWN for proposal in proposals]
    return {
        "lineage": lineage(settings),
        "settings": settings.recorded(),
        "wanted_share": {
            "train": round(1 - settings.val_share - settings.test_share, 6),
            "val": settings.val_share,
            "test": settings.test_share,
        },
        "total": _strata(tiles, plans, ["all"] * len(tiles))["all"],
        "by_category": _strata(tiles, plans, categories),
        "by_instrument": _strata(tiles, plans, [material.instrument_of(tile) or UNKNOWN for tile in tiles]),
        "excluded": _sorted_counts(plan.reason for plan in plans if plan.reason is not None),
        "links": _sorted_counts(link.reason for link in links),
        "random_split_of_tiles": dict(leak),
    }


def split_tables(
    tiles: Sequence[Tile], assignments: Mapping[str, SplitAssignment], links: Iterable[Link]
) -> dict[str, pa.Table]:
    """Make two tables for the dataset folder: excluded tiles with their reasons, and links between proposals."""
    excluded = [
        {"tile_id": tile.tile_id, "group_id": plan.group_id, "proposal_id": tile.proposal_id, "reason": plan.reason}
        for tile in sorted(tiles, key=lambda tile: tile.tile_id)
        if (plan := assignments[tile.tile_id]).split == EXCLUDED
    ]
    # The rows are sorted, so that equal splits give files with equal bytes.
    link_rows = sorted((asdict(link) for link in links), key=lambda row: tuple(row.values()))
    tables = {
        EXCLUDED_TILES: (excluded, ("tile_id", "group_id", "proposal_id", "reason")),
        LINKS: (link_rows, ("one", "other", "reason", "detail")),
    }
    return {
        file: pa.Table.from_pylist(rows, schema=pa.schema([(name, pa.string()) for name in names]))
        for file, (rows, names) in tables.items()
    }


def leak_summary(leak: Mapping[str, int]) -> str:
    """Return a sentence that describes how many tiles a random split would leak."""
    share = leak["num_leaking"] / max(leak["num_train"], 1)
    return (
        f"a random split of tiles would leak {share:.0%} of its {leak['num_train']} train tiles:"
        f" {leak['num_shared_abstract']} share an abstract with val or test, {leak['num_overlap']} overlap on the sky,"
        f" {leak['num_moving_target']} show the same moving body"
    )


def _strata(tiles: Sequence[Tile], plans: Sequence[SplitAssignment], values: Sequence[str]) -> Strata:
    """Count the tiles, proposals and groups for each value and split.

    `values` contains the value of each tile, such as its instrument. In the result, `share` is the number of tiles with
    the value in the split, divided by the number of all tiles with the value.
    """
    members: dict[tuple[str, str], list[int]] = defaultdict(list)  # indices of the tiles, by value and split
    for index, (plan, value) in enumerate(zip(plans, values, strict=True)):
        members[value, plan.split].append(index)
    num_tiles = Counter(values)
    strata: Strata = {value: {} for value in sorted(num_tiles)}
    for (value, split), mine in sorted(members.items()):
        strata[value][split] = {
            "tiles": len(mine),
            "proposals": len({tiles[index].proposal_id for index in mine}),
            "groups": len({plans[index].group_id for index in mine}),
            "share": round(len(mine) / num_tiles[value], 4),
        }
    return strata


def _sorted_counts(reasons: Iterable[str]) -> dict[str, int]:
    """Count the occurrences of each reason; the result is sorted by reason."""
    return dict(sorted(Counter(reasons).items()))


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
    # Datasets are listed by digest and not by time, so it is not known which assignment of a tile is the newest. An
    # assignment with a permanent reason has priority. An exclusion by a cap is used only if no other assignment exists.
    assignments.sort(key=lambda plan: (plan.reason in PERMANENT) - (plan.reason in CAPS))
    return {plan.tile_id: plan for plan in assignments}


def _datasets_of_lineage(datasets_dir: Path, settings: SplitSettings) -> list[tuple[Path, Mapping[str, Any]]]:
    """List the finished datasets of one lineage."""
    finished = finished_datasets(datasets_dir)
    return [(path, facts) for path, facts in finished if facts[SPLIT_REPORT].get("lineage") == lineage(settings)]


def _read_test_list(path: Path, description: Mapping[str, Any]) -> str:
    """Read the test list of a dataset; raise DatasetError if it is missing or its hash is not the recorded one."""
    try:
        content = (path / TEST_LIST).read_bytes()
    except OSError as error:
        raise DatasetError(f"{path / TEST_LIST} cannot be read ({error}): restore it, or delete the folder") from error
    if sha256_bytes(content) != description["files"][TEST_LIST]:
        raise DatasetError(f"{path / TEST_LIST} was changed after the release: restore it, or delete the folder")
    return content.decode("ascii")
