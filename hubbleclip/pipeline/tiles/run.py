"""Cut every fetched product into tiles."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial

from hubbleclip.archives import Archive, open_archive
from hubbleclip.archives.base import reject
from hubbleclip.catalog.pending import pending_tiles, product_batches
from hubbleclip.config.settings import Settings, TileSettings
from hubbleclip.core.layout import Layout, product_suffix
from hubbleclip.core.records import Product, Rejection, Tile
from hubbleclip.images.tiling import IN_MEMORY_SUFFIXES, tile_file
from hubbleclip.pipeline.engine.batches import run_batches
from hubbleclip.pipeline.engine.connections import Batch, Connections
from hubbleclip.pipeline.engine.execution import PLAIN, Execution
from hubbleclip.pipeline.engine.runners import fetch_share
from hubbleclip.pipeline.engine.services import archive_service
from hubbleclip.pipeline.engine.stage import Stage, open_stage
from hubbleclip.pipeline.ingest.fetch import dropped, fetch_file, fetched_by, is_on_disk, remove_strays, write_fetched
from hubbleclip.pipeline.remote_store import local_files, push
from hubbleclip.pipeline.tiles.cutting import check_tiles, cut_each, rejection_rows, write_cut, write_tiles
from hubbleclip.pipeline.tiles.rgb_visits import colour_pending


def cut_products(
    products: Sequence[Product], layout: Layout, settings: TileSettings, data: bytes | None = None
) -> Batch:
    """Tiles of a batch of products: the files first, then their rows.

    Parameters
    ----------
    products
        The batch.
    layout
        File names of the profile.
    settings
        The section `tiles`.
    data
        Content of the only product of the batch, when it is not on disk.

    Returns
    -------
    dict
        Rows for `tile` and `rejection`.

    """
    cuts = [(product.uri, partial(cut_product, product, layout, settings, data)) for product in products]
    with local_files(layout, (product.path for product in products if product.path and data is None)):
        batch = cut_each(cuts, entity="product", stage="tiles", digest=settings.digest())
    push(layout, (tile.path for tile in batch["tile"]))
    return batch


def cut_product(
    product: Product, layout: Layout, settings: TileSettings, data: bytes | None = None
) -> tuple[list[Tile], list[Rejection]]:
    """Write the tiles of one product.

    Parameters
    ----------
    product
        The product.
    layout
        File names of the profile.
    settings
        The section `tiles`.
    data
        Its content, when it is not on disk.

    Returns
    -------
    tuple
        Rows of its tiles, and of the tiles that were rejected.

    Raises
    ------
    ImageError
        When there is no tile, with the commonest reason.

    """
    now = datetime.now(UTC)
    content = layout.absolute(product.path or "") if data is None else data
    cut = tile_file(content, product.sha256 or "", settings, product.file_name)
    check_tiles(cut)
    tiles = write_tiles(cut.tiles, product, layout, now)
    return tiles, rejection_rows(cut.rejections, "tiles", settings.digest(), now)


def fetch_and_cut(
    products: Sequence[Product], archive: Archive, layout: Layout, settings: Settings, connections: Connections
) -> Batch:
    """Fetch, cut and drop files side by side; small previews never touch the disk.

    Parameters
    ----------
    products
        The batch.
    archive
        The archive to ask.
    layout
        File names of the profile.
    settings
        All settings.
    connections
        Shared by all batches of the stage.

    Returns
    -------
    dict
        Rows for `product`, `product_version`, `tile`, `rejection` and `failure`.

    """
    return connections.map(partial(fetch_cut_drop, archive=archive, layout=layout, settings=settings), products)


def fetch_cut_drop(product: Product, archive: Archive, layout: Layout, settings: Settings) -> Batch:
    """Fetch one file unless it is on disk, cut it, and remove it whatever the result.

    Parameters
    ----------
    product
        The file.
    archive
        The archive to ask.
    layout
        File names of the profile.
    settings
        All settings.

    Returns
    -------
    dict
        Rows as in `fetch_and_cut`.

    """
    batch, data = fetched_for_now(product, archive, layout, settings)
    if data is not None:
        return batch | cut_products(batch["product"], layout, settings.tiles, data)
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


def fetched_for_now(
    product: Product, archive: Archive, layout: Layout, settings: Settings
) -> tuple[Batch, bytes | None]:
    """The rows of a file that is on disk, or is fetched now; a small preview is fetched to memory only.

    Parameters
    ----------
    product
        The file.
    archive
        The archive to ask.
    layout
        File names of the profile.
    settings
        All settings.

    Returns
    -------
    tuple
        Its rows, and its content when it is in memory only.

    """
    if is_on_disk(product, layout):
        return {"product": [product]}, None
    if product_suffix(product.file_name) in IN_MEMORY_SUFFIXES:
        return fetched_by(lambda: archive.deliver_product(product), product, settings)
    return fetch_file(product, archive, settings), None


def tiles(settings: Settings, execution: Execution = PLAIN) -> None:
    """Cut what is fetched and not yet cut under the present tile settings.

    With `fetch.keep_fits = false`, fetch what is not yet cut, and keep no file: each is fetched, cut and dropped in one
    step, and at most `fetch.connections` steps are under way, so the disk never holds more files than that, whole or
    partial. What a killed run left is removed before anything is fetched. Files kept by earlier runs with
    `keep_fits = true` are kept until they are cut again.

    Parameters
    ----------
    settings
        All settings.
    execution
        Where the batches run.

    """
    with open_stage("tiles", settings, execution) as stage:
        if settings.fetch.keep_fits:
            cut_pending(stage)
        else:
            fetch_and_cut_pending(stage)
        if settings.tiles.colour:
            colour_pending(stage)


def cut_pending(stage: Stage) -> None:
    """Cut the pending files on disk.

    Parameters
    ----------
    stage
        The stage with the open catalog.

    """
    pending, settings = pending_tiles(stage.catalog, stage.settings), stage.settings
    work = product_batches(stage.catalog, pending, settings.flows.batch_size)
    run_batches(
        stage, "cut-products", cut_products, work, stage.layout, settings.tiles, total=len(pending), write=write_cut
    )


def fetch_and_cut_pending(stage: Stage) -> None:
    """Cut pending files that are on disk only while they are cut.

    Parameters
    ----------
    stage
        The stage with the open catalog.

    """
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
