"""Write the files and then the rows of tiles, read images of tiles, and delete the rows of damaged tiles."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection
from datetime import datetime

from hubbleclip.archives.base import reject
from hubbleclip.core.errors import ImageError
from hubbleclip.core.io import sync_files, write_bytes
from hubbleclip.core.layout import Layout
from hubbleclip.core.reasons import reason_words
from hubbleclip.core.records import Product
from hubbleclip.images.tiling import CutResult, to_tile_record
from hubbleclip.pipeline.engine.attempts import Batch, write_with_retries
from hubbleclip.pipeline.engine.stage import Stage
from hubbleclip.pipeline.remote_store import push

log = logging.getLogger("hubbleclip.pipeline")


def store_tiles(
    cut: CutResult,
    product: Product,
    layout: Layout,
    *,
    stage: str,
    digest: str,
    cut_at: datetime,
    part_uris: list[str] | None = None,
) -> Batch:
    """Write the tile files of one product or visit, and make the rows of its tiles and rejected tiles."""
    if not cut.tiles:
        counted = Counter(rejection.reason for rejection in cut.rejections)
        reason = counted.most_common(1)[0][0] if counted else "no_image"
        raise ImageError(reason, "; ".join(f"{reason_words(r.reason)}: {r.detail}" for r in cut.rejections[:3]))
    records = [to_tile_record(tile, product, layout, cut_at, part_uris) for tile in cut.tiles]
    for tile, record in zip(cut.tiles, records, strict=True):
        write_bytes(layout.absolute(record.path), tile.encoded, is_synced=False)
    rejections = [
        reject("tile", r.entity_id, stage, reason=r.reason, detail=r.detail, settings_digest=digest)
        for r in cut.rejections
    ]
    push(layout, (record.path for record in records))
    return {"tile": records, "rejection": rejections}


def without_repeated(stage: Stage, batch: Batch) -> Batch:
    """Reject all but one of the products with equal content, because their tiles would have the same ids.

    The product that was cut before is kept, or else the first one by proposal and URI.
    """
    tiles, digest = batch.get("tile", []), stage.settings.tiles.digest()
    contents = {product.uri: product.sha256 for product in batch.get("product", []) if product.sha256}
    contents |= {tile.product_uri: tile.product_sha256 for tile in tiles}
    sql = {"uris": list(contents), "contents": list(contents.values()), "settings_digest": digest}
    first = {row["sha256"]: row["uri"] for row in stage.catalog.named_query("cut_contents", **sql)}
    for _, uri in sorted({(tile.proposal_id, tile.product_uri) for tile in tiles}):
        first.setdefault(contents[uri], uri)
    repeated = {uri: first[content] for uri, content in contents.items() if first.get(content, uri) != uri}
    if not repeated:
        return batch
    new = [
        reject("product", uri, "tiles", reason="repeated", detail=f"equal to {other}", settings_digest=digest)
        for uri, other in repeated.items()
    ]
    rejections = {(row.entity, row.entity_id): row for row in [*batch.get("rejection", []), *new]}
    kept = [tile for tile in tiles if tile.product_uri not in repeated]
    return batch | {"tile": kept, "rejection": list(rejections.values())}


def write_cut(stage: Stage, batch: Batch) -> None:
    """Synchronise the files of tiles to the disk, then write their rows to the catalog."""
    if batch.get("product"):
        num = len(batch["product"])
        log.warning("%s: %d files are missing or changed: the next ingest fetches them again", stage.name, num)
    batch = without_repeated(stage, batch)
    sync_files(stage.layout.absolute(tile.path) for tile in batch.get("tile", ()))
    write_with_retries(stage, batch)


def read_tile(layout: Layout, tile_id: str) -> bytes:
    """Read the encoded image of a tile."""
    return layout.existing_tile(tile_id).read_bytes()


def forget_damaged(stage: Stage, tile_ids: Collection[str]) -> None:
    """Delete the rows of damaged tiles, so that their products are pending again."""
    stage.catalog.run("forget_tiles", tile_ids=sorted(tile_ids))
    reason = "their images are missing or damaged: the next `hubbleclip dataset` cuts their products again"
    log.warning("%s: %d tiles are not used, because %s", stage.name, len(tile_ids), reason)
