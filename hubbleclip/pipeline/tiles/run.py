"""The stage `tiles`, which cuts every fetched product into tiles."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from hubbleclip.archives import Archive, open_archive
from hubbleclip.catalog.pending import pending_tiles
from hubbleclip.config.settings import Settings, TileSettings
from hubbleclip.core.layout import Layout, product_suffix
from hubbleclip.core.records import Product, Rejection
from hubbleclip.images.tiling import IN_MEMORY_SUFFIXES, tile_file
from hubbleclip.pipeline.engine.attempts import UNEXPECTED, Batch, Step, attempt
from hubbleclip.pipeline.engine.batches import run_batches
from hubbleclip.pipeline.engine.runners import fetch_share
from hubbleclip.pipeline.engine.stage import Stage, open_stage, served_archive
from hubbleclip.pipeline.ingest.fetch import (
    dropped,
    fetch_file,
    fetch_step,
    fetched_rows,
    forgotten,
    is_intact,
    is_on_disk,
    products_of,
    remove_strays,
    write_fetched,
)
from hubbleclip.pipeline.remote_store import local_files
from hubbleclip.pipeline.tiles.rgb_visits import colour_pending
from hubbleclip.pipeline.tiles.stored_tiles import store_tiles, without_repeated, write_cut

log = logging.getLogger("hubbleclip.pipeline")


def cut_product(product: Product, layout: Layout, settings: TileSettings) -> Batch:
    """Write the tiles of a product; a file that the disk has lost is fetched again by the next ingest."""
    with local_files(layout, [product.path] if product.path else []):
        if not is_intact(product, layout):
            return {"product": [forgotten(product, layout)]}
        return cut_content(product, layout.absolute(product.path or ""), layout, settings)


def cut_content(product: Product, content: Path | bytes, layout: Layout, settings: TileSettings) -> Batch:
    """Write the tiles of a product, given its file or the bytes of the file."""
    now = datetime.now(UTC)
    cut = tile_file(content, product.sha256 or "", settings, product.file_name)
    return store_tiles(cut, product, layout, stage="tiles", digest=settings.digest(), cut_at=now)


def cutting(settings: TileSettings) -> Step:
    """Describe the work that cuts products."""
    return Step(name="cut-products", stage="tiles", entity="product", digest=settings.digest(), key="uri")


def fetch_cut_drop(product: Product, archive: Archive, layout: Layout, settings: Settings) -> Batch:
    """Fetch one file unless it is on disk, cut the file, and delete the file even if an error occurs.

    A small preview is fetched to memory only.
    """
    rows: Batch = {}
    cut: Batch | Rejection = {}
    content: Path | bytes | None = None
    try:
        if not is_on_disk(product, layout):
            if product_suffix(product.file_name) in IN_MEMORY_SUFFIXES:
                delivery = archive.deliver_product(product)
                rows, content = fetched_rows(product, delivery.product), delivery.data
            else:
                rows = fetch_file(product, archive, layout, settings)
            (product,) = rows["product"]
        content = content or layout.absolute(product.path or "")
        # a product with equal content may have been cut, and their common file deleted; see `without_repeated`
        if isinstance(content, bytes) or content.is_file():
            work = partial(cut_content, product, content, layout, settings.tiles)
            cut = attempt(cutting(settings.tiles), product.uri, work)
    finally:
        left = dropped(product, layout)
    if isinstance(cut, Rejection):
        cut = {"failure" if cut.reason == UNEXPECTED else "rejection": [cut]}
    return rows | cut | {"product": [left]}


def tiles(settings: Settings) -> None:
    """Cut all files that were not yet cut with the current tile settings.

    With `fetch.keep_fits = true`, the files that the stage ingest has fetched are cut. With `fetch.keep_fits = false`,
    each file is fetched, cut and deleted in one step. At most `fetch.connections` steps run at a time, so the disk
    never holds more than `fetch.connections` complete or partial files. Files that a killed run has left are removed
    before anything is fetched. Files that earlier runs with `fetch.keep_fits = true` have fetched are kept until they
    are cut again.
    """
    with open_stage("tiles", settings) as stage:
        if stage.catalog.rows("SELECT 1 FROM rejection WHERE entity = 'product' AND reason = 'repeated' LIMIT 1"):
            stage.catalog.run("release_repeated")
        if settings.fetch.keep_fits:
            cut_pending(stage)
        else:
            remove_strays(stage)
            if pending := pending_tiles(stage.catalog, settings):
                with served_archive(settings) as served:
                    fetch_and_cut(stage, open_archive(served, fetch_share(settings), stage.layout), pending)
        if settings.tiles.colour:
            colour_pending(stage)


def cut_pending(stage: Stage) -> None:
    """Cut all pending files; the stage ingest has already fetched these files to the disk."""
    pending, settings = pending_tiles(stage.catalog, stage.settings), stage.settings.tiles
    work = partial(cut_product, layout=stage.layout, settings=settings)
    run_batches(stage, cutting(settings), work, products_of(stage, pending), total=len(pending), write=write_cut)


def fetch_and_cut(stage: Stage, archive: Archive, pending: Sequence[str]) -> None:
    """Fetch files, cut each file, and delete each file after it is cut."""
    work = partial(fetch_cut_drop, archive=archive, layout=stage.layout, settings=stage.settings)
    step = fetch_step(stage.settings, "fetch-and-cut")

    def write(stage: Stage, batch: Batch) -> None:
        failed = {failure.entity_id for failure in batch.get("failure", ())}
        cut = [product.uri for product in batch.get("product", ()) if product.uri not in failed]
        stage.catalog.run("clear_failures", entity="product", stage="tiles", ids=cut)
        write_fetched(stage, without_repeated(stage, batch))

    run_batches(stage, step, work, products_of(stage, pending), total=len(pending), write=write)
