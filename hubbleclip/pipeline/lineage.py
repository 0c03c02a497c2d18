"""Where a tile comes from, and what was made of it: from the byte in the shard back to the abstract."""

from __future__ import annotations

from typing import Any

from hubbleclip.catalog.catalog import Catalog
from hubbleclip.core.errors import CatalogError
from hubbleclip.core.layout import Layout
from hubbleclip.dataset.manifest import DESCRIPTION, read_description


def explain_tile(catalog: Catalog, layout: Layout, tile_id: str) -> dict[str, Any]:
    """The chain of one tile as one flat row; a name that ends in `_settings` is a digest of settings.

    What only the dataset's own description tells, code version and settings of the packing, is None where the dataset's
    folder is gone. Raises CatalogError for an unknown tile.
    """
    rows = catalog.named_query("explain", tile_id=tile_id)
    if not rows:
        raise CatalogError(f'there is no tile {tile_id!r}: see `hubbleclip sql "FROM tile"`')
    (chain,) = rows
    folder = layout.absolute(chain["dataset"]) if chain["dataset"] else None
    told = read_description(folder) if folder and (folder / DESCRIPTION).is_file() else {}
    return chain | {f"dataset_{name}": told.get(name) for name in ("code_version", "settings_digests", "settings")}
