"""Trace the lineage of a tile, from its image in a shard back to the proposal."""

from __future__ import annotations

from typing import Any

from hubbleclip.catalog.catalog import Catalog, read_catalog
from hubbleclip.core.id_prefixes import find_id
from hubbleclip.core.layout import Layout
from hubbleclip.core.reasons import reason_words
from hubbleclip.dataset.manifest import DESCRIPTION, read_description
from hubbleclip.dataset.splits.report import REPORT
from hubbleclip.pipeline.status import NEWEST_DATASET

STARTING = "SELECT tile_id FROM tile WHERE starts_with(tile_id, ?) ORDER BY tile_id LIMIT 10"


def explain(layout: Layout, tile_id: str) -> dict[str, Any]:
    """Return the lineage of one tile, according to the published catalog, as one flat row."""
    with read_catalog(layout) as catalog:
        return explain_tile(catalog, layout, tile_id)


def explain_tile(catalog: Catalog, layout: Layout, tile_id: str) -> dict[str, Any]:
    """Return the lineage of one tile as one flat row."""
    known = [row["tile_id"] for row in catalog.rows(STARTING, [tile_id])]
    tile_id = find_id(tile_id, known, kind="tile", listed_by='hubbleclip sql "FROM tile"')
    (lineage,) = catalog.named_query("explain", tile_id=tile_id)
    described = _description(layout, lineage["dataset"])
    if lineage["split_reason"]:  # an excluded tile is in no dataset
        newest = [_description(layout, row["path"]) for row in catalog.rows(NEWEST_DATASET)]
        splits = newest[0].get(REPORT, {}).get("settings") if newest else None
        lineage["split_reason"] = reason_words(lineage["split_reason"], splits)
    product = layout.absolute(lineage["product_path"]) if lineage["product_path"] else None
    # product_sha256 is the hash of the bytes on the disk, which may lack extensions that no stage reads
    lineage["product_bytes_on_disk"] = product.stat().st_size if product and product.is_file() else None
    return lineage | {
        f"dataset_{name}": described.get(name) for name in ("code_version", "settings_digests", "settings")
    }


def _description(layout: Layout, path: str | None) -> dict[str, Any]:
    """Read the description of a dataset; empty if there is no dataset, or if its folder no longer exists."""
    folder = layout.absolute(path) if path else None
    return read_description(folder) if folder and (folder / DESCRIPTION).is_file() else {}
