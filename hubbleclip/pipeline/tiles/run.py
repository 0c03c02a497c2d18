"""Cut every fetched product into PNG tiles."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial

from hubbleclip.archives import Archive, open_archive
from hubbleclip.archives.base import Delivery, reject
from hubbleclip.catalog.pending import pending_tiles, product_batches
from hubbleclip.catalog.product_versions import next_version
from hubbleclip.config.settings import Settings, TileSettings
from hubbleclip.core.layout import Layout, product_suffix
from hubbleclip.core.records import Product, Rejection, Tile
from hubbleclip.images.tiling import FROM_MEMORY, tile_file
from hubbleclip.pipeline.engine.batches import run_batches
from hubbleclip.pipeline.engine.connections import Batch, Connections
from hubbleclip.pipeline.engine.execution import PLAIN, Execution
from hubbleclip.pipeline.engine.runners import fetch_share
from hubbleclip.pipeline.engine.services import archive_service
from hubbleclip.pipeline.engine.stage import Stage, open_stage
from hubbleclip.pipeline.ingest.fetch import dropped, fetch_each, fetch_file, is_on_disk, remove_strays, write_fetched
from hubbleclip.pipeline.remote_store import local_files, push
from hubbleclip.pipeline.tiles.cutting import check_tiles, cut_each, rejection_rows, write_cut, write_tiles
from hubbleclip.pipeline.tiles.rgb_visits import colour_pending


def cut_products(
    products: Sequence[Product], layout: Layout, settings: TileSettings, data: bytes | None = None
) -> Batch:
    """Tiles of a batch of products, or of one whose content is `data`: the PNG files first, then their rows."""
    cuts = [(product.uri, partial(cut_product, product, layout, settings, data)) for product in products]
    with local_files(layout, (product.path for product in products if product.path and data is None)):
        batch = cut_each(cuts, entity="product", stage="tiles", digest=settings.digest())
    push(layout, (tile.path for tile in batch["tile"]))
    return batch


def cut_product(
    product: Product, layout: Layout, settings: TileSettings, data: bytes | None = None
) -> tuple[list[Tile], list[Rejection]]:
    """Write the tiles of one product. Raises ImageError with the commonest reason when there is none."""
    now = datetime.now(UTC)
    content = layout.absolute(product.path or "") if data is None else data
    cut = tile_file(content, product.sha256 or "", settings, product.file_name)
    check_tiles(cut)
    tiles = write_tiles(cut.tiles, product, layout, now)
    return tiles, rejection_rows(cut.rejections, "tiles", settings.digest(), now)


def fetch_and_cut(
    products: Sequence[Product], archive: Archive, layout: Layout, settings: Settings, connections: Connections
) -> Batch:
    """Fetch, cut and drop files side by side; small previews never touch the disk."""
    return fetch_each(
        products, archive, connections,
        take=partial(cut_delivery, layout=layout, settings=settings),
        alone=partial(fetch_cut_drop, archive=archive, layout=layout, settings=settings),
        is_taken=lambda product: product_suffix(product.file_name) in FROM_MEMORY and not is_on_disk(product, layout),
    )  # fmt: skip


def cut_delivery(product: Product, delivery: Delivery, layout: Layout, settings: Settings) -> Batch:
    """Cut a file in memory."""
    numbered, history = next_version(product, delivery.product)
    cut = cut_products([numbered], layout, settings.tiles, delivery.data)
    return cut | {"product": [numbered], "product_version": history}


def fetch_cut_drop(product: Product, archive: Archive, layout: Layout, settings: Settings) -> Batch:
    """Fetch one file unless it is on the disk, cut it, remove it, whatever comes of it."""
    batch: Batch = {"product": [product]} if is_on_disk(product, layout) else fetch_file(product, archive, settings)
    fetched = next(iter(batch.get("product", [])), product)
    try:
        if "failure" in batch:
            return batch
        if not layout.absolute(fetched.path or "").is_file():
            detail = "another product had the same bytes and was dropped meanwhile"
            digest = settings.archive.digest()
            gone = reject("product", product.uri, "fetch", reason="gone", detail=detail, settings_digest=digest)
            return {"failure": [gone]}
        cut = cut_products([fetched], layout, settings.tiles)
    finally:
        left = dropped(fetched, layout)
    return batch | cut | {"product": [left]}


def tiles(settings: Settings, execution: Execution = PLAIN) -> None:
    """Cut what is fetched and not yet cut under the present tile settings.

    With `fetch.keep_fits = false`, fetch what is not yet cut, and keep no file: each is fetched, cut and dropped in one
    step, and at most `fetch.connections` steps are under way, so never more than `fetch.connections` files, whole or
    partial, stand on the disk. What a killed run left is removed before anything is fetched. Files kept by earlier runs
    with `keep_fits = true` stay until they are cut again.
    """
    with open_stage("tiles", settings, execution) as stage:
        if settings.fetch.keep_fits:
            cut_pending(stage)
        else:
            fetch_and_cut_pending(stage)
        if settings.tiles.colour:
            colour_pending(stage)


def cut_pending(stage: Stage) -> None:
    """Cut the files on the disk."""
    pending, settings = pending_tiles(stage.catalog, stage.settings), stage.settings
    work = product_batches(stage.catalog, pending, settings.flows.batch_size)
    run_batches(
        stage, "cut-products", cut_products, work, stage.layout, settings.tiles, total=len(pending), write=write_cut
    )


def fetch_and_cut_pending(stage: Stage) -> None:
    """Cut files that are on the disk only for that time."""
    remove_strays(stage)
    pending, settings = pending_tiles(stage.catalog, stage.settings), stage.settings
    if not pending:
        return
    share = fetch_share(settings)
    connections = Connections(share.connections)
    with archive_service(settings) as served:
        archive = open_archive(served, share, stage.layout)
        run_batches(
            stage, "fetch-and-cut", fetch_and_cut, product_batches(stage.catalog, pending, settings.flows.batch_size),
            archive, stage.layout, settings, connections,
            total=len(pending), write=write_fetched, connections=connections,
        )  # fmt: skip
