"""Fetch the chosen files: new ones, new versions of known ones, and failed ones whose retry is due."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from hubbleclip.archives import Archive
from hubbleclip.archives.base import Delivery
from hubbleclip.archives.http.content_store import check_free_space
from hubbleclip.catalog.catalog import Catalog
from hubbleclip.catalog.pending import pending_fetch, product_batches
from hubbleclip.catalog.product_versions import next_version
from hubbleclip.config.settings import Settings
from hubbleclip.core.io import sync_files
from hubbleclip.core.layout import Layout
from hubbleclip.core.records import Product, Rejection
from hubbleclip.pipeline.engine.attempts import attempt, write_with_retries
from hubbleclip.pipeline.engine.batches import run_batches
from hubbleclip.pipeline.engine.connections import Batch, Connections
from hubbleclip.pipeline.engine.runners import fetch_share
from hubbleclip.pipeline.engine.stage import Stage, layout_of
from hubbleclip.pipeline.remote_store import push


def fetch_products(
    products: Sequence[Product], archive: Archive, settings: Settings, connections: Connections
) -> Batch:
    """Fetch the files of a batch side by side; one that fails is retried by a later run.

    Parameters
    ----------
    products
        The batch.
    archive
        The archive to ask.
    settings
        All settings.
    connections
        Shared by all batches of the stage.

    Returns
    -------
    dict
        Rows for `product`, `product_version` and `failure`.

    """
    layout = layout_of(settings)
    check_free_space(layout, sum(product.size_bytes or 0 for product in products), settings.fetch.min_free_gb)
    batch = connections.map(partial(fetch_file, archive=archive, settings=settings), products)
    push(layout, (product.path for product in batch.get("product", ()) if product.path))
    return batch


def fetch_file(product: Product, archive: Archive, settings: Settings) -> Batch:
    """Fetch one file to the disk.

    Parameters
    ----------
    product
        The file.
    archive
        The archive to ask.
    settings
        All settings.

    Returns
    -------
    dict
        Its row, and a row of its history when the content is new; or a `failure`.

    """
    return fetched_by(lambda: Delivery(archive.fetch_product(product)), product, settings)[0]


def fetched_by(fetch: Callable[[], Delivery], product: Product, settings: Settings) -> tuple[Batch, bytes | None]:
    """The rows of one fetched file.

    Parameters
    ----------
    fetch
        Fetches the file.
    product
        The file.
    settings
        All settings.

    Returns
    -------
    tuple
        Its rows as in `fetch_file`, and its content when it is in memory only.

    """
    digest = settings.archive.digest()
    delivery = attempt(fetch, entity="product", entity_id=product.uri, stage="fetch", digest=digest)
    if isinstance(delivery, Rejection):
        return {"failure": [delivery]}, None
    numbered, history = next_version(product, delivery.product)
    return {"product": [numbered], "product_version": history}, delivery.data


def fetch_pending(stage: Stage, archive: Archive) -> None:
    """Fetch all pending files, then remove contents that newer ones have replaced.

    Parameters
    ----------
    stage
        The stage with the open catalog.
    archive
        The archive to ask.

    """
    pending, settings = pending_fetch(stage.catalog, stage.settings), stage.settings
    connections = Connections(fetch_share(settings).connections)
    if pending:
        archive.set_file_lookup(partial(known_content, stage.catalog))
    run_batches(
        stage, "fetch-products", fetch_products, product_batches(stage.catalog, pending, settings.flows.batch_size),
        archive, settings, connections, total=len(pending), write=write_fetched, connections=connections,
    )  # fmt: skip
    remove_old_contents(stage)


def known_content(catalog: Catalog, etag: str, size_bytes: int) -> str | None:
    """The hash of a file on disk by the ETag of its server; safe to call from any thread.

    Parameters
    ----------
    catalog
        The open catalog.
    etag
        The server's ETag.
    size_bytes
        Size of the content.

    Returns
    -------
    str or None
        sha256 in hex, when the content is known.

    """
    return next((sha256 for (sha256,) in catalog.thread_query("known_content", etag=etag, size_bytes=size_bytes)), None)


def write_fetched(stage: Stage, batch: Batch) -> None:
    """Write fetched products, and the tiles cut from them, after their files are safe on disk.

    New content invalidates the tiles that were cut from older content.

    Parameters
    ----------
    stage
        The stage with the open catalog.
    batch
        Rows for `product`, `product_version`, `tile`, `rejection` and `failure`.

    """
    files = [*batch.get("product", []), *batch.get("tile", [])]
    sync_files(stage.layout.absolute(file.path) for file in files if file.path)
    renewed = [version.uri for version in batch.get("product_version", [])]
    with stage.catalog.transaction():
        stage.catalog.run("clear_failures", entity="product", stage="tiles", ids=renewed)
        done = [product.uri for product in batch.get("product", [])]
        write_with_retries(stage, batch, entity="product", work="fetch", done=done)


def remove_old_contents(stage: Stage) -> None:
    """Remove files that no product refers to any more.

    The whole history is examined, so a killed run leaves nothing behind.

    Parameters
    ----------
    stage
        The stage with the open catalog.

    """
    for row in stage.catalog.named_query("old_contents"):
        stage.layout.product(row["sha256"], row["file_name"]).unlink(missing_ok=True)


def remove_strays(stage: Stage) -> None:
    """Remove what a killed run left: files that no product refers to, and partial ones.

    Parameters
    ----------
    stage
        The stage with the open catalog.

    """
    rows = stage.catalog.rows("SELECT path FROM product WHERE path IS NOT NULL")
    named = {stage.layout.absolute(row["path"]) for row in rows}
    for path in stage.layout.products.rglob("*"):
        if path.is_file() and path not in named:
            path.unlink()


def is_on_disk(product: Product, layout: Layout) -> bool:
    """Whether the content that the archive lists is on disk.

    Parameters
    ----------
    product
        The product.
    layout
        File names of the profile.

    Returns
    -------
    bool
        False when the file is missing or of another version.

    """
    is_current = product.sha256 is not None and product.archive_version == product.fetched_version
    return is_current and product.path is not None and layout.absolute(product.path).is_file()


def dropped(product: Product, layout: Layout) -> Product:
    """Remove the file of a product, whole or partial; a file outside the profile's folder is kept.

    Parameters
    ----------
    product
        The product.
    layout
        File names of the profile.

    Returns
    -------
    Product
        Its row without the path.

    """
    part = layout.part(product.uri)
    for path in part.parent.glob(f"{part.stem}.*"):
        path.unlink()
    if product.path is None or not layout.absolute(product.path).is_relative_to(layout.products):
        return product
    layout.absolute(product.path).unlink(missing_ok=True)
    return replace(product, path=None)
