"""Fetch new files, new versions of known files, and files that failed and whose next attempt is due."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from hubbleclip.archives import Archive
from hubbleclip.archives.base import Delivery
from hubbleclip.archives.http.content_store import check_free_space
from hubbleclip.catalog.catalog import Catalog
from hubbleclip.catalog.pending import pending_fetch, product_batches
from hubbleclip.config.settings import Settings
from hubbleclip.core.io import has_sha256, sync_files
from hubbleclip.core.layout import Layout
from hubbleclip.core.records import Product, ProductVersion, Rejection
from hubbleclip.pipeline.engine.attempts import attempt, write_with_retries
from hubbleclip.pipeline.engine.batches import run_batches
from hubbleclip.pipeline.engine.connections import Batch, Connections
from hubbleclip.pipeline.engine.runners import fetch_share
from hubbleclip.pipeline.engine.stage import Stage, layout_of
from hubbleclip.pipeline.remote_store import push


def fetch_products(
    products: Sequence[Product], archive: Archive, settings: Settings, connections: Connections
) -> Batch:
    """Fetch the files of a batch in parallel; a file that fails is retried by a later run."""
    layout = layout_of(settings)
    check_free_space(layout, sum(product.size_bytes or 0 for product in products), settings.fetch.min_free_gb)
    batch = connections.map(partial(fetch_file, archive=archive, settings=settings), products)
    push(layout, (product.path for product in batch.get("product", ()) if product.path))
    return batch


def fetch_file(product: Product, archive: Archive, settings: Settings) -> Batch:
    """Fetch the file of one product to the disk."""
    return fetched_by(lambda: Delivery(archive.fetch_product(product)), product, settings)[0]


def fetched_by(fetch: Callable[[], Delivery], product: Product, settings: Settings) -> tuple[Batch, bytes | None]:
    """Call a function that fetches one file, and return the rows of that file."""
    digest = settings.archive.digest()
    delivery = attempt(fetch, entity="product", entity_id=product.uri, stage="fetch", digest=digest)
    if isinstance(delivery, Rejection):
        return {"failure": [delivery]}, None
    numbered, history = next_version(product, delivery.product)
    return {"product": [numbered], "product_version": history}, delivery.data


def next_version(before: Product, fetched: Product) -> tuple[Product, list[ProductVersion]]:
    """Number the file that was just fetched: an archive may reprocess an exposure and publish its file again."""
    if fetched.sha256 == before.sha256:
        return replace(fetched, version=before.version), []
    if fetched.sha256 is None or fetched.size_bytes is None or fetched.source is None or fetched.fetched_at is None:
        raise AssertionError("Archive.fetch_product did not set sha256, size, source or time")
    history = ProductVersion(
        uri=fetched.uri,
        version=(before.version or 0) + 1,
        sha256=fetched.sha256,
        archive_version=fetched.fetched_version,
        size_bytes=fetched.size_bytes,
        source=fetched.source,
        fetched_at=fetched.fetched_at,
    )
    return replace(fetched, version=history.version), [history]


def fetch_pending(stage: Stage, archive: Archive) -> None:
    """Fetch all pending files, then remove files that were replaced by newer versions."""
    pending, settings = pending_fetch(stage.catalog, stage.settings), stage.settings
    connections = Connections(fetch_share(settings).connections)
    if pending:
        archive.set_file_lookup(partial(known_content, stage.catalog))
    run_batches(
        stage,
        "fetch-products",
        fetch_products,
        product_batches(stage.catalog, pending, settings.flows.batch_size),
        archive,
        settings,
        connections,
        total=len(pending),
        write=write_fetched,
        connections=connections,
    )
    remove_old_contents(stage)


def known_content(catalog: Catalog, etag: str, size_bytes: int) -> str | None:
    """Find the hash of a file on disk by the ETag of the server.

    This function may be called from any thread.
    """
    return next((sha256 for (sha256,) in catalog.thread_query("known_content", etag=etag, size_bytes=size_bytes)), None)


def write_fetched(stage: Stage, batch: Batch) -> None:
    """Write the rows of fetched products and of their tiles, after the files have been synchronised to the disk.

    When a product has new content, the record of an earlier failure to cut tiles from the product is deleted, so that
    the product is cut again.
    """
    files = [*batch.get("product", []), *batch.get("tile", [])]
    sync_files(stage.layout.absolute(file.path) for file in files if file.path)
    renewed = [version.uri for version in batch.get("product_version", [])]
    with stage.catalog.transaction():
        stage.catalog.run("clear_failures", entity="product", stage="tiles", ids=renewed)
        done = [product.uri for product in batch.get("product", [])]
        write_with_retries(stage, batch, entity="product", work="fetch", done=done)


def remove_old_contents(stage: Stage) -> None:
    """Remove files of old product versions to which no product refers any more.

    The history of all products is examined, so that files that a killed run did not remove are removed too.
    """
    for row in stage.catalog.named_query("old_contents"):
        stage.layout.product(row["sha256"], row["file_name"]).unlink(missing_ok=True)


def remove_strays(stage: Stage) -> None:
    """Remove files that a killed run has left: partial files, and files to which no product refers."""
    rows = stage.catalog.rows("SELECT path FROM product WHERE path IS NOT NULL")
    named = {stage.layout.absolute(row["path"]) for row in rows}
    for path in stage.layout.products.rglob("*"):
        if path.is_file() and path not in named:
            path.unlink()


def is_intact(product: Product, layout: Layout) -> bool:
    """Return whether the disk has a product's file with the content that was fetched."""
    return product.path is not None and has_sha256(layout.absolute(product.path), product.sha256)


def forgotten(product: Product, layout: Layout) -> Product:
    """Make a product pending again, because its file is missing or changed; the file is removed."""
    return replace(dropped(product, layout), path=None, fetched_version=None)


def is_on_disk(product: Product, layout: Layout) -> bool:
    """Return whether the disk has a product's file, intact and in the version that the archive lists."""
    is_current = product.sha256 is not None and product.archive_version == product.fetched_version
    return is_current and is_intact(product, layout)


def dropped(product: Product, layout: Layout) -> Product:
    """Remove the complete or partial file of a product; a file outside the profile's folder is kept."""
    part = layout.part(product.uri)
    for path in part.parent.glob(f"{part.stem}.*"):
        path.unlink()
    if product.path is None or not layout.absolute(product.path).is_relative_to(layout.products):
        return product
    layout.absolute(product.path).unlink(missing_ok=True)
    return replace(product, path=None)
