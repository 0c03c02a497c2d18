"""Make a dataset of some tiles of another dataset, with a digest of its own and the same splits."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pyarrow.compute as pc

from hubbleclip.config.settings import ShardSettings
from hubbleclip.core.errors import DatasetError
from hubbleclip.core.records import Sample
from hubbleclip.core.version import code_version
from hubbleclip.dataset.build import build_dataset
from hubbleclip.dataset.manifest import BuiltDataset, read_dataset, sample_columns


def make_subset(place: str | Path, tile_ids: Iterable[str], folder: Path) -> BuiltDataset:
    """Make the dataset `folder/<digest>/` of those tiles that a dataset has."""
    info = read_dataset(place)
    wanted = set(tile_ids)
    rows = info.manifest.filter(pc.field("tile_id").isin(list(wanted)))
    if not rows.num_rows:
        raise DatasetError(f"none of the {len(wanted)} tiles is in {place}: choose tiles of its train, val or test")
    settings = {name: info.description["settings"].get(name) for name in ShardSettings.model_fields}
    return build_dataset(
        [Sample(**row) for row in rows.select(sample_columns(rows)).to_pylist()],
        lambda tile_id: info.read_tile_images([tile_id])[0],
        folder,
        ShardSettings(**{name: value for name, value in settings.items() if value is not None}),
        contract_version=info.contract_version,
        code_version=code_version(),
        max_parents=0,
        settings_digests=info.description.get("settings_digests", {}),
        split_report={"subset_of": info.digest},
    )
