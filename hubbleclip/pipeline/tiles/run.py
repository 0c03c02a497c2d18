"""The stage tiles, which cuts every fetched product into tiles."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial

from hubbleclip.archives import Archive, open_archive
from hubbleclip.archives.base import reject
from hubbleclip.catalog.pending import pending_tiles, product_batches
from hubbleclip.config.settings import Settings, TileSettings
from hubbleclip.core.layout import Layout, product_suffix
from hubbleclip.core.records import Product, Rejection, Tile
from hubbleclip.images.kernels import COMPILING
from hubbleclip.images.tiling import IN_MEMORY_SUFFIXES, tile_file
from hubbleclip.pipeline.engine.batches import run_batches
from hubbleclip.pipeline.engine.connections import Batch, Connections
from hubbleclip.pipeline.engine.execution import PLAIN, Execution
from hubbleclip.pipeline.engine.runners import fetch_share
from hubbleclip.pipeline.engine.services import archive_service
from hubbleclip.pipeline.engine.stage import Stage, open_stage
from hubbleclip.pipeline.ingest.fetch import dropped, fetch_file, fetched_by, is_on_disk, remove_strays, write_fetched
from hubbleclip.pipeline.remote_store import local_files, push
from hubbleclip.pipeline.tiles.cutting import cut_each, split_intact, store_tiles, write_cut
from hubbleclip.pipeline.tiles.rgb_visits import colour_pending

log = logging.getLogger("hubbleclip.pipeline")


def cut_products(
    products: Sequence[Product], layout: Layout, settings: TileSettings, data: bytes | None = None
) -> Batch:
    """Write the tiles of a batch of products, and return their rows."""
    with local_files(layout, (product.path for product in products if product.path and data is None)):
        intact, lost = split_intact(products, layout) if data is None else (products, [])
        cuts = [(product.uri, partial(cut_product, product, layout, settings, data)) for product in intact]
        batch = cut_each(cuts, entity="product", stage="tiles", digest=settings.digest()) | {"product": lost}
    push(layout, (tile.path for tile in batch["tile"]))
    return batch


def cut_product(
    product: Product, layout: Layout, settings: TileSettings, data: bytes | None = None
) -> tuple[list[Tile], list[Rejection]]:
    """Write the tiles of one product."""
    now = datetime.now(UTC)
    content = layout.absolute(product.path or "") if data is None else data
    cut = tile_file(content, product.sha256 or "", settings, product.file_name)
    return store_tiles(cut, product, layout, stage="tiles", digest=settings.digest(), cut_at=now)


def fetch_and_cut(
    products: Sequence[Product], archive: Archive, layout: Layout, settings: Settings, connections: Connections
) -> Batch:
    """Fetch, cut and delete the files of a batch in parallel; small previews are not written to the disk."""
    return connections.map(partial(fetch_cut_drop, archive=archive, layout=layout, settings=settings), products)


def fetch_cut_drop(product: Product, archive: Archive, layout: Layout, settings: Settings) -> Batch:
    """Fetch one file unless it is on disk, cut the file, and delete the file even if an error occurs."""
    batch, data = fetched_for_now(product, archive, layout, settings)
    if data is not None:
        return cut_products(batch["product"], layout, settings.tiles, data) | batch
    fetched = next(iter(batch.get("product", [])), product)
    try:
        if "failure" in batch:
            return batch
        if not layout.absolute(fetched.path or "").is_file():
            detail = "the file was deleted after another product with the same content had been cut"
            digest = settings.archive.digest()
            gone = reject("product", product.uri, "fetch", reason="gone", detail=detail, settings_digest=digest)
            return {"failure": [gone]}
        cut = cut_products([fetched], layout, settings.tiles)
    finally:
        left = dropped(fetched, layout)
    return batch | cut | {"product": [left]}


def fetched_for_now(
    product: Product, archive: Archive, layout: Layout, settings: Settings
) -> tuple[Batch, bytes | None]:
    """Fetch a file if it is not on disk, and return its rows; a small preview is fetched to memory only."""
    if is_on_disk(product, layout):
        return {"product": [product]}, None
    if product_suffix(product.file_name) in IN_MEMORY_SUFFIXES:
        return fetched_by(lambda: archive.deliver_product(product), product, settings)
    return fetch_file(product, archive, settings), None


def tiles(settings: Settings, execution: Execution = PLAIN) -> None:
    """Cut all files that were not yet cut with the current tile settings.

    With `fetch.keep_fits = true`, the files that the stage ingest has fetched are cut. With `fetch.keep_fits = false`,
    each file is fetched, cut and deleted in one step. At most `fetch.connections` steps run at a time, so the disk
    never holds more than `fetch.connections` complete or partial files. Files that a killed run has left are removed
    before anything is fetched. Files that earlier runs with `fetch.keep_fits = true` have fetched are kept until they
    are cut again.
    """
    with open_stage("tiles", settings, execution) as stage:
        if settings.fetch.keep_fits:
            cut_pending(stage)
        else:
            fetch_and_cut_pending(stage)
        if settings.tiles.colour:
            colour_pending(stage)
    if compiled_s := COMPILING.take():
        log.info("tiles: %.0f s of this were the compilation of loops, which later runs reuse", compiled_s)


def cut_pending(stage: Stage) -> None:
    """Cut all pending files; the stage ingest has already fetched these files to the disk."""
    pending, settings = pending_tiles(stage.catalog, stage.settings), stage.settings
    work = product_batches(stage.catalog, pending, settings.flows.batch_size)
    run_batches(
        stage, "cut-products", cut_products, work, stage.layout, settings.tiles, total=len(pending), write=write_cut
    )


def fetch_and_cut_pending(stage: Stage) -> None:
    """Fetch all pending files, cut each file, and delete each file after it is cut."""
    remove_strays(stage)
    pending, settings = pending_tiles(stage.catalog, stage.settings), stage.settings
    if not pending:
        return
    share = fetch_share(settings)
    connections = Connections(share.connections)
    with archive_service(settings) as served:
        archive = open_archive(served, share, stage.layout)
        run_batches(
            stage,
            "fetch-and-cut",
            fetch_and_cut,
            product_batches(stage.catalog, pending, settings.flows.batch_size),
            archive,
            stage.layout,
            settings,
            connections,
            total=len(pending),
            write=write_fetched,
            connections=connections,
        )
