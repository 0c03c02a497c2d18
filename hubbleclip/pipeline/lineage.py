"""The lineage of a tile: from its bytes in a shard back to the proposal."""

from __future__ import annotations

from typing import Any

from hubbleclip.catalog.catalog import Catalog
from hubbleclip.core.errors import CatalogError
from hubbleclip.core.layout import Layout
from hubbleclip.dataset.manifest import DESCRIPTION, read_description


def explain_tile(catalog: Catalog, layout: Layout, tile_id: str) -> dict[str, Any]:
    """The lineage of one tile as one flat row.

    Parameters
    ----------
    catalog
        The open catalog.
    layout
        File names of the profile.
    tile_id
        Id of the tile.

    Returns
    -------
    dict
        One row. Names that end in `_settings` are digests of settings; what only the dataset's description contains
        is None where the dataset's folder is gone.

    Raises
    ------
    CatalogError
        When there is no such tile.

    """
    rows = catalog.named_query("explain", tile_id=tile_id)
    if not rows:
        raise CatalogError(f'there is no tile {tile_id!r}: see `hubbleclip sql "FROM tile"`')
    (lineage,) = rows
    folder = layout.absolute(lineage["dataset"]) if lineage["dataset"] else None
    described = read_description(folder) if folder and (folder / DESCRIPTION).is_file() else {}
    return lineage | {
        f"dataset_{name}": described.get(name) for name in ("code_version", "settings_digests", "settings")
    }
