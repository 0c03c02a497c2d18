"""Cut items (products or visits) into tiles.

An item that fails becomes a Rejection. The files of tiles are written before the rows of tiles.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from hubbleclip.archives.base import reject
from hubbleclip.core.errors import ImageError
from hubbleclip.core.io import sync_files, write_bytes
from hubbleclip.core.layout import Layout
from hubbleclip.core.reasons import reason_words
from hubbleclip.core.records import Product, Rejection, Tile
from hubbleclip.images.tiling import CutResult, to_tile_record
from hubbleclip.pipeline.engine.attempts import attempt
from hubbleclip.pipeline.engine.batches import write_rows
from hubbleclip.pipeline.engine.connections import Batch
from hubbleclip.pipeline.engine.stage import Stage
from hubbleclip.pipeline.ingest.fetch import forgotten, is_intact

log = logging.getLogger("hubbleclip.pipeline")

Cut = Callable[[], tuple[list[Tile], list[Rejection]]]
"""Function that cuts one item and returns the rows of its tiles and of its rejected tiles."""


def split_intact(products: Sequence[Product], layout: Layout) -> tuple[list[Product], list[Product]]:
    """Compare the files of products with their hashes."""
    intact = [product for product in products if is_intact(product, layout)]
    found = {product.uri for product in intact}
    return intact, [forgotten(product, layout) for product in products if product.uri not in found]


def cut_each(cuts: Iterable[tuple[str, Cut]], *, entity: str, stage: str, digest: str) -> Batch:
    """Cut the items of a batch into tiles."""
    batch: Batch = {"tile": [], "rejection": []}
    for entity_id, cut in cuts:
        outcome = attempt(cut, entity=entity, entity_id=entity_id, stage=stage, digest=digest)
        tiles, rejections = ([], [outcome]) if isinstance(outcome, Rejection) else outcome
        batch["tile"].extend(tiles)
        batch["rejection"].extend(rejections)
    return batch


def store_tiles(
    cut: CutResult,
    product: Product,
    layout: Layout,
    *,
    stage: str,
    digest: str,
    cut_at: datetime,
    part_uris: list[str] | None = None,
) -> tuple[list[Tile], list[Rejection]]:
    """Write the files of the tiles of one item, and make the rows of its tiles and of its rejected tiles."""
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
    return records, rejections


def write_cut(stage: Stage, batch: Batch) -> None:
    """Synchronise the files of tiles to the disk, then write their rows to the catalog."""
    if batch.get("product"):
        log.warning(
            "%s: %d files are missing or changed: the next ingest fetches them again", stage.name, len(batch["product"])
        )
    sync_files(stage.layout.absolute(tile.path) for tile in batch.get("tile", ()))
    write_rows(stage, batch)
