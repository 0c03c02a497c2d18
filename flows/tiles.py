"""Cut every fetched product into PNG tiles."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

from prefect import Task, flow

from flows._run import Batch, attempt, batches, from_rows, open_stage, run_batches
from hubbleclip.errors import ImageError
from hubbleclip.files import write_bytes
from hubbleclip.images.tiles import tile_file, to_tile_record
from hubbleclip.paths import Layout
from hubbleclip.records import Product, Rejection, Tile
from hubbleclip.settings import TileSettings, read_settings


def cut_products(products: Sequence[Product], layout: Layout, settings: TileSettings) -> Batch:
    """Tiles of a batch of products: the PNG files first, then their rows."""
    batch: Batch = {"tile": [], "rejection": []}
    for product in products:
        cut = attempt(
            partial(cut_product, product, layout, settings),
            entity="product", entity_id=product.uri, stage="tiles", digest=settings.digest(),
        )  # fmt: skip
        if isinstance(cut, Rejection):
            batch["rejection"].append(cut)
        else:
            batch["tile"].extend(cut[0])
            batch["rejection"].extend(cut[1])
    return batch


def cut_product(product: Product, layout: Layout, settings: TileSettings) -> tuple[list[Tile], list[Rejection]]:
    """Write the tiles of one product. Raises ImageError with the commonest reason when there is none."""
    now = datetime.now(UTC)
    cut = tile_file(layout.absolute(product.path or ""), product.sha256 or "", settings, product.file_name)
    if not cut.tiles:
        counted = Counter(rejection.reason for rejection in cut.rejections)
        reason = counted.most_common(1)[0][0] if counted else "no_image"
        raise ImageError(reason, "; ".join(f"{r.reason}: {r.detail}" for r in cut.rejections[:3]))
    tiles = [to_tile_record(tile, product, layout, now) for tile in cut.tiles]
    for tile, record in zip(cut.tiles, tiles, strict=True):
        write_bytes(layout.absolute(record.path), tile.png)
    rejections = [
        Rejection(
            entity="tile", entity_id=r.entity_id, stage="tiles", reason=r.reason, detail=r.detail,
            settings_digest=settings.digest(), rejected_at=now,
        )
        for r in cut.rejections
    ]  # fmt: skip
    return tiles, rejections


task_cut_products = Task(cut_products, name="cut-products", persist_result=False)


@flow(name="tiles")
def tiles(profile: str = "demo", overrides: dict[str, Any] | None = None) -> None:
    """Cut what is fetched and not yet cut under the present tile settings."""
    settings = read_settings(profile, overrides or {})
    with open_stage("tiles", settings) as stage:
        pending = from_rows(Product, stage.catalog.named("pending_tiles", settings_digest=settings.tiles.digest()))
        work = batches(pending, settings.flows.batch_size)
        run_batches(stage, task_cut_products, work, stage.layout, settings.tiles)
