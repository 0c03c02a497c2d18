"""Datasets of a study: the tiles of a profile with other splits or captions, outside the catalog."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from hubbleclip.catalog.catalog import read_catalog
from hubbleclip.catalog.pending import to_records
from hubbleclip.config.settings import Settings
from hubbleclip.contracts.schema import contract_version
from hubbleclip.core.layout import Layout
from hubbleclip.core.records import Sample, SplitAssignment
from hubbleclip.core.version import code_version
from hubbleclip.dataset.build import build_dataset
from hubbleclip.dataset.manifest import DatasetInfo, read_dataset
from hubbleclip.dataset.samples import make_samples
from hubbleclip.dataset.splits.material import Material
from hubbleclip.pipeline.engine.stage import Stage
from hubbleclip.pipeline.shards.splitting import read_material


def read_tiles(settings: Settings) -> tuple[Material, dict[str, SplitAssignment]]:
    """Read the tiles of a profile from its catalog."""
    layout = Layout(settings.root)
    with read_catalog(layout) as catalog:
        material = read_material(Stage(name="study", settings=settings, layout=layout, catalog=catalog))
        return material, {plan.tile_id: plan for plan in to_records(SplitAssignment, catalog.rows("FROM split"))}


def samples_of(material: Material, plans: Mapping[str, SplitAssignment], settings: Settings) -> list[Sample]:
    """Make samples of all tiles that have a split."""
    return make_samples(material, plans, settings.shards)[0]


def write_dataset(samples: Sequence[Sample], settings: Settings, datasets_dir: Path) -> DatasetInfo:
    """Build the dataset of an arm, unless it exists."""
    layout = Layout(settings.root)
    built = build_dataset(
        samples,
        lambda tile_id: layout.existing_tile(tile_id).read_bytes(),
        datasets_dir,
        settings.shards.model_copy(update={"max_parents": 0}),  # the datasets of the arms share no shards
        contract_version=contract_version("shards"),
        code_version=code_version(),
    )
    return read_dataset(datasets_dir / built.dataset.digest)
