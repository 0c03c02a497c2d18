"""Drop a product or a proposal, with the rows and files that were made from it, and never fetch it again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from hubbleclip.archives.base import proposal_id_of, reject
from hubbleclip.config.settings import Settings
from hubbleclip.core.errors import HubbleclipError, SettingsError
from hubbleclip.core.records import Rejection
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """Everything made from a product or a proposal. `holders` are datasets and runs that keep its tiles unchanged."""

    products: Sequence[dict[str, Any]]
    proposal_ids: Sequence[str]
    tiles: Sequence[dict[str, Any]]
    holders: Sequence[str]

    @property
    def summary(self) -> str:
        """What is dropped, in one line."""
        texts = f"{len(self.proposal_ids)} proposal, " if self.proposal_ids else ""
        held = f"; these keep copies: {', '.join(self.holders)}" if self.holders else ""
        return f"{texts}{len(self.products)} products and {len(self.tiles)} tiles{held}"


def drop(settings: Settings, name: str, confirm: Callable[[str], bool]) -> str:
    """Drop a product (by URI) or a proposal (by number) if `confirm` accepts the summary; return what was dropped."""
    if settings.store:
        raise SettingsError(f"drop deletes no file of {settings.store}: files of a remote store can only be kept")
    with open_stage("drop", settings) as stage:
        found = find_lineage(stage, name)
        if not confirm(found.summary):
            return "nothing was dropped"
        # The rejections come first, so that nothing is fetched again. The rows are removed last, because a second drop
        # finds by them what an interrupted one has left.
        stage.catalog.upsert({"rejection": rejections_of(stage, found)})
        remove_from_index(stage.layout, {row["tile_id"] for row in found.tiles})
        remove_files(stage, found)
        write_drop(stage, found)
    if layout_of(settings).current_index.is_file():
        index_promoted(settings)
    return f"dropped {found.summary}"


def find_lineage(stage: Stage, name: str) -> Lineage:
    """Find what was made from a product or a proposal. Raises HubbleclipError for a name that the catalog lacks."""
    catalog = stage.catalog
    proposal_id = name if ":" in name else proposal_id_of(stage.settings.archive.name, name)
    products = catalog.rows(PRODUCTS, {"name": proposal_id})
    proposals = catalog.rows("SELECT proposal_id FROM observation WHERE proposal_id = ? LIMIT 1", [proposal_id])
    if not (products or proposals):
        raise HubbleclipError(f'the catalog has no product or proposal {name}: see `hubbleclip sql "FROM product"`')
    tiles = catalog.rows(TILES, {"uris": [row["uri"] for row in products]})
    holders = catalog.rows(HOLDERS, {"tile_ids": [row["tile_id"] for row in tiles]})
    return Lineage(
        products=products,
        proposal_ids=[row["proposal_id"] for row in proposals],
        tiles=tiles,
        holders=[row["name"] for row in holders],
    )


def rejections_of(stage: Stage, found: Lineage) -> list[Rejection]:
    """Make the rejections of the products and of the proposal; they are permanent."""
    names = [("product", row["uri"], "fetch") for row in found.products]
    names += [("proposal", name, work) for name in found.proposal_ids for work in ("products", "proposals")]
    digest = stage.settings.archive.digest()
    return [reject(*one, reason="dropped", detail="by hubbleclip drop", settings_digest=digest) for one in names]


def write_drop(stage: Stage, found: Lineage) -> None:
    """Remove the rows of the dropped items from the catalog."""
    uris, tile_ids = [row["uri"] for row in found.products], [row["tile_id"] for row in found.tiles]
    with stage.catalog.transaction():
        stage.catalog.run("drop", uris=uris, proposal_ids=list(found.proposal_ids), tile_ids=tile_ids)


def remove_files(stage: Stage, found: Lineage) -> None:
    """Remove the files of products and tiles to which no other row refers."""
    others = "SELECT path FROM product WHERE path IS NOT NULL AND NOT list_contains(?, uri)"
    used = {row["path"] for row in stage.catalog.rows(others, [[row["uri"] for row in found.products]])}
    paths = {row["path"] for row in (*found.products, *found.tiles) if row["path"]}
    for file in map(stage.layout.absolute, paths - used):
        if file.is_relative_to(stage.layout.root):  # files of the archive `local` are elsewhere, and are kept
            file.unlink(missing_ok=True)
