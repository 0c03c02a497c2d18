"""Drop a product or a proposal, with the rows and files that were made from it, and never fetch it again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from hubbleclip.archives.base import proposal_id_of
from hubbleclip.config.settings import Settings
from hubbleclip.core.errors import HubbleclipError, SettingsError
from hubbleclip.core.records import reject
from hubbleclip.pipeline.engine.stage import Stage, layout_of, open_stage
from hubbleclip.pipeline.index import index_promoted, remove_from_index

PRODUCTS = "FROM product WHERE uri = $name OR proposal_id = $name ORDER BY uri"
TILES = """
SELECT tile_id, path FROM tile
WHERE list_contains($uris, product_uri) OR list_has_any(coalesce(part_uris, []), $uris) ORDER BY tile_id
"""
HOLDERS = """
WITH held AS (SELECT DISTINCT dataset_digest FROM placement WHERE list_contains($tile_ids, tile_id))
SELECT 'dataset ' || dataset_digest AS name FROM held
UNION ALL SELECT 'run ' || run_id FROM run SEMI JOIN held USING (dataset_digest) ORDER BY name
"""


def drop(settings: Settings, name: str, confirm: Callable[[str], bool]) -> str:
    """Drop a product (by URI) or a proposal (by number) if `confirm` accepts the summary; return what was dropped.

    The summary names the datasets and runs that keep copies of the tiles. Raises HubbleclipError for a name that the
    catalog lacks.
    """
    if settings.store:
        raise SettingsError(f"drop cannot be used with the remote store {settings.store}: its files are never deleted")
    with open_stage("drop", settings) as stage:
        catalog, digest = stage.catalog, settings.archive.digest()
        wanted = name if ":" in name else proposal_id_of(settings.archive.name, name)
        products = catalog.rows(PRODUCTS, {"name": wanted})
        observed = catalog.rows("SELECT proposal_id FROM observation WHERE proposal_id = ? LIMIT 1", [wanted])
        if not (products or observed):
            raise HubbleclipError(f'the catalog has no product or proposal {name}: see `hubbleclip sql "FROM product"`')
        uris, proposal_ids = [row["uri"] for row in products], [row["proposal_id"] for row in observed]
        tiles = catalog.rows(TILES, {"uris": uris})
        tile_ids = [row["tile_id"] for row in tiles]
        holders = [row["name"] for row in catalog.rows(HOLDERS, {"tile_ids": tile_ids})]
        summary = f"{len(products)} products and {len(tiles)} tiles"
        summary = f"{len(proposal_ids)} proposal, {summary}" if proposal_ids else summary
        summary += f"; tile copies remain in: {', '.join(holders)}" if holders else ""
        if not confirm(summary):
            return "nothing was dropped"
        # The rejections are written first, so that nothing is fetched again. The rows are deleted last: if this drop is
        # interrupted, the next drop finds the remaining files by these rows.
        items = [("product", uri, "fetch") for uri in uris]
        items += [("proposal", one, work) for one in proposal_ids for work in ("products", "proposals")]
        new = [reject(*one, reason="dropped", detail="by hubbleclip drop", settings_digest=digest) for one in items]
        catalog.upsert({"rejection": new})
        remove_from_index(stage.layout, set(tile_ids))
        remove_files(stage, products, tiles)
        with catalog.transaction():
            catalog.run("drop", uris=uris, proposal_ids=proposal_ids, tile_ids=tile_ids)
    if layout_of(settings).current_index.is_file():
        index_promoted(settings)
    return f"dropped {summary}"


def remove_files(stage: Stage, products: Sequence[dict[str, Any]], tiles: Sequence[dict[str, Any]]) -> None:
    """Remove the files of products and tiles, except files that belong to other products too."""
    others = "SELECT path FROM product WHERE path IS NOT NULL AND NOT list_contains(?, uri)"
    used = {row["path"] for row in stage.catalog.rows(others, [[row["uri"] for row in products]])}
    for file in map(stage.layout.absolute, {row["path"] for row in (*products, *tiles) if row["path"]} - used):
        if file.is_relative_to(stage.layout.root):  # a user's own files (archive `local`) are kept
            file.unlink(missing_ok=True)
