"""Datasets of a study: the tiles of a profile with other splits or captions, outside the catalog.

One split leaks on purpose, to measure the effect of the leaks that the splits of the pipeline prevent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from hubbleclip.catalog.catalog import read_catalog
from hubbleclip.catalog.pending import to_records
from hubbleclip.config.settings import Settings, SplitSettings
from hubbleclip.contracts.schema import contract_version
from hubbleclip.core.layout import Layout
from hubbleclip.core.records import Sample, SplitAssignment
from hubbleclip.core.version import code_version
from hubbleclip.dataset.build import build_dataset
from hubbleclip.dataset.manifest import DatasetInfo, read_dataset
from hubbleclip.dataset.samples import make_samples
from hubbleclip.dataset.shard_writer import unit_hash
from hubbleclip.dataset.splits.material import Material
from hubbleclip.dataset.splits.sky_guard import EXCLUDED
from hubbleclip.pipeline.engine.stage import Stage
from hubbleclip.pipeline.shards import read_material

Assignments = Mapping[str, SplitAssignment]


def read_tiles(settings: Settings) -> tuple[Material, dict[str, SplitAssignment]]:
    """Read the tiles of a profile from its catalog."""
    layout = Layout(settings.root)
    with read_catalog(layout) as catalog:
        material = read_material(Stage(name="study", settings=settings, layout=layout, catalog=catalog))
        return material, {plan.tile_id: plan for plan in to_records(SplitAssignment, catalog.rows("FROM split"))}


def samples_of(material: Material, plans: Assignments, settings: Settings) -> list[Sample]:
    """Make samples of all tiles that have a split."""
    return make_samples(material, plans, settings.shards)[0]


def write_dataset(samples: Sequence[Sample], settings: Settings, datasets_dir: Path) -> DatasetInfo:
    """Build the dataset of an arm, unless it exists."""
    layout = Layout(settings.root)
    built = build_dataset(
        samples,
        lambda tile_id: layout.existing_tile(tile_id).read_bytes(),
        datasets_dir,
        settings.shards,
        contract_version=contract_version("shards"),
        max_parents=0,  # the datasets of the arms share no shards
        code_version=code_version(),
    )
    return read_dataset(datasets_dir / built.dataset.digest)


def by_tile(clean: Assignments, settings: SplitSettings) -> dict[str, SplitAssignment]:
    """Make a leaky split that assigns each tile at random, as is commonly done.

    Tiles of the same proposal, or of the same patch of sky, may be both in train and in test.
    """
    return {
        tile_id: replace(plan, split=_draw_split(tile_id, settings), reason=None) for tile_id, plan in clean.items()
    }


def common_test_tiles(plans: Sequence[Assignments]) -> dict[str, SplitAssignment]:
    """Exclude all tiles but those that each split tests.

    On them, a model that was trained on siblings of the tiles can be compared with one that was not.
    """
    return {
        tile_id: plan if all(other[tile_id].split == "test" for other in plans) else replace(plan, split=EXCLUDED)
        for tile_id, plan in plans[0].items()
    }


def _draw_split(tile_id: str, settings: SplitSettings) -> str:
    """Draw the split of a tile from a hash of the tile's id."""
    position = unit_hash(f"{settings.salt}:{tile_id}")
    if position < settings.test_share:
        return "test"
    return "val" if position < settings.test_share + settings.val_share else "train"
