"""Bring the chosen files to the disk: new ones, other versions of known ones, and what failed and has waited."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from hubbleclip.archives import Archive
from hubbleclip.archives.base import Delivery
from hubbleclip.archives.http.content_store import check_room, settle_small
from hubbleclip.catalog.catalog import Catalog
from hubbleclip.catalog.pending import pending_fetch, product_batches
from hubbleclip.catalog.product_versions import next_version
from hubbleclip.config.settings import Settings
from hubbleclip.core.errors import ArchiveDownError, DiskFullError
from hubbleclip.core.io import sync_files
from hubbleclip.core.layout import Layout
from hubbleclip.core.records import Product, Rejection
from hubbleclip.pipeline.engine.attempts import attempt, write_with_retries
from hubbleclip.pipeline.engine.batches import run_batches
from hubbleclip.pipeline.engine.connections import Batch, Connections, merged
from hubbleclip.pipeline.engine.runners import fetch_share
from hubbleclip.pipeline.engine.stage import Stage, layout_of
from hubbleclip.pipeline.remote_store import push


def fetch_products(
    products: Sequence[Product], archive: Archive, settings: Settings, connections: Connections
) -> Batch:
    """Fetch files side by side; one that fails is left for a later run."""
    layout = layout_of(settings)
    check_room(layout, sum(product.size_bytes or 0 for product in products), settings.fetch.min_free_gb)
    batch = fetch_each(
        products, archive, connections,
        take=partial(keep_delivery, layout=layout, settings=settings),
        alone=partial(fetch_file, archive=archive, settings=settings),
    )  # fmt: skip
    push(layout, (product.path for product in batch.get("product", ()) if product.path))
    return batch


def fetch_each(
    products: Sequence[Product],
    archive: Archive,
    connections: Connections,
    *,
    take: Callable[[Product, Delivery], Batch],
    alone: Callable[[Product], Batch],
    is_taken: Callable[[Product], bool] = lambda product: True,
) -> Batch:
    """What `take` makes of each small file as it comes, and `alone` of the others, fetched by themselves side by
    side.
    """
    left = [product for product in products if not is_taken(product)]
    done: list[Batch] = []
    try:
        for product, delivery in archive.deliver_small(filter(is_taken, products)):
            if not connections.is_open:
                break
            if delivery is None:
                left.append(product)
            else:
                done.append(take(product, delivery))
    except (ArchiveDownError, DiskFullError) as error:
        connections.error = error
    return merged([*done, connections.map(alone, left)])


def keep_delivery(product: Product, delivery: Delivery, layout: Layout, settings: Settings) -> Batch:
    """Write a small file to its place."""
    told = delivery.product
    path = attempt(
        lambda: settle_small(delivery.data, told.sha256 or "", told.file_name, layout),
        entity="product", entity_id=product.uri, stage="fetch", digest=settings.archive.digest(),
    )  # fmt: skip
    if isinstance(path, Rejection):
        return {"failure": [path]}
    numbered, history = next_version(product, replace(told, path=layout.relative(path)))
    return {"product": [numbered], "product_version": history}


def fetch_file(product: Product, archive: Archive, settings: Settings) -> Batch:
    """Fetch one file: its product's row, and another of its history where the content is new."""
    fetched = attempt(
        lambda: archive.fetch_product(product),
        entity="product", entity_id=product.uri, stage="fetch", digest=settings.archive.digest(),
    )  # fmt: skip
    if isinstance(fetched, Rejection):
        return {"failure": [fetched]}
    numbered, history = next_version(product, fetched)
    return {"product": [numbered], "product_version": history}


def fetch_pending(stage: Stage, archive: Archive) -> None:
    """Fetch all that waits, then remove contents that newer ones have replaced."""
    pending, settings = pending_fetch(stage.catalog, stage.settings), stage.settings
    connections = Connections(fetch_share(settings).connections)
    if pending:
        archive.remember(partial(known_content, stage.catalog))
    run_batches(
        stage, "fetch-products", fetch_products, product_batches(stage.catalog, pending, settings.flows.batch_size),
        archive, settings, connections, total=len(pending), write=write_fetched, connections=connections,
    )  # fmt: skip
    remove_old_contents(stage)


def known_content(catalog: Catalog, etag: str, size_bytes: int) -> str | None:
    """The sha256 of a file on the disk by what its server called it; for any thread."""
    return next((sha256 for (sha256,) in catalog.thread_query("known_content", etag=etag, size_bytes=size_bytes)), None)


def write_fetched(stage: Stage, batch: Batch) -> None:
    """Write products as fetched, and what was cut of them, once the files are safe on the disk. A new content is cut
    anew, so that the old tiles are current no more.
    """
    files = [*batch.get("product", []), *batch.get("tile", [])]
    sync_files(stage.layout.absolute(file.path) for file in files if file.path)
    renewed = [version.uri for version in batch.get("product_version", [])]
    with stage.catalog.transaction():
        stage.catalog.run("clear_failures", entity="product", stage="tiles", ids=renewed)
        done = [product.uri for product in batch.get("product", [])]
        write_with_retries(stage, batch, entity="product", work="fetch", done=done)


def remove_old_contents(stage: Stage) -> None:
    """Remove files that no product names any more. It looks at the whole history, so a kill leaves nothing behind."""
    for row in stage.catalog.named_query("old_contents"):
        stage.layout.product(row["sha256"], row["file_name"]).unlink(missing_ok=True)


def remove_strays(stage: Stage) -> None:
    """Remove what a killed run left: files that no product names, and partial ones."""
    rows = stage.catalog.rows("SELECT path FROM product WHERE path IS NOT NULL")
    named = {stage.layout.absolute(row["path"]) for row in rows}
    for path in stage.layout.products.rglob("*"):
        if path.is_file() and path not in named:
            path.unlink()


def is_on_disk(product: Product, layout: Layout) -> bool:
    """Whether the content that the archive lists stands on the disk."""
    is_current = product.sha256 is not None and product.archive_version == product.fetched_version
    return is_current and product.path is not None and layout.absolute(product.path).is_file()


def dropped(product: Product, layout: Layout) -> Product:
    """The product after its file is removed, whole or partial; one that stands outside the profile's folder stays."""
    part = layout.part(product.uri)
    for path in part.parent.glob(f"{part.stem}.*"):
        path.unlink()
    if product.path is None or not layout.absolute(product.path).is_relative_to(layout.products):
        return product
    layout.absolute(product.path).unlink(missing_ok=True)
    return replace(product, path=None)
