"""Trace the lineage of a tile, from its image in a shard back to the proposal."""

from __future__ import annotations

from typing import Any

from hubbleclip.catalog.catalog import Catalog
from hubbleclip.core.layout import Layout
from hubbleclip.core.short_ids import find_id
from hubbleclip.dataset.manifest import DESCRIPTION, read_description

STARTING = "SELECT tile_id FROM tile WHERE starts_with(tile_id, ?) ORDER BY tile_id LIMIT 10"


def explain_tile(catalog: Catalog, layout: Layout, tile_id: str) -> dict[str, Any]:
    """Return the lineage of one tile as one flat row.

    Parameters
    ----------
    catalog
        The open catalog.
    layout
        Paths of the profile's files and folders.
    tile_id
        Id of the tile, or its first characters.

    Returns
    -------
    dict
        One row. `product_sha256` is the hash of what was downloaded of the file. Columns whose names end in `_settings`
        are digests of settings. Columns that are read from the dataset's description are None if the dataset's folder
        no longer exists.

    Raises
    ------
    HubbleclipError
        When no tile or more than one has an id that begins so.

    """
    known = [row["tile_id"] for row in catalog.rows(STARTING, [tile_id])]
    tile_id = find_id(tile_id, known, kind="tile", listed_by='hubbleclip sql "FROM tile"')
    (lineage,) = catalog.named_query("explain", tile_id=tile_id)
    folder = layout.absolute(lineage["dataset"]) if lineage["dataset"] else None
    described = read_description(folder) if folder and (folder / DESCRIPTION).is_file() else {}
    product = layout.absolute(lineage["product_path"]) if lineage["product_path"] else None
    # the hash is that of the bytes on the disk, which may lack extensions that are not read
    lineage["product_bytes_on_disk"] = product.stat().st_size if product and product.is_file() else None
    return lineage | {
        f"dataset_{name}": described.get(name) for name in ("code_version", "settings_digests", "settings")
    }
