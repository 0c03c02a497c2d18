"""Fetch new files, new versions of known files, and failed files whose next attempt is due."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain

from hubbleclip.archives import Archive
from hubbleclip.archives.http.download import check_free_space
from hubbleclip.catalog.pending import pending_fetch, product_batches
from hubbleclip.config.settings import Settings
from hubbleclip.core.io import has_sha256, sync_files
from hubbleclip.core.layout import Layout
from hubbleclip.core.records import Product, ProductVersion
from hubbleclip.fits.sieve import is_sieved
from hubbleclip.pipeline.engine.attempts import Batch, Step, archive_step, write_with_retries
from hubbleclip.pipeline.engine.batches import run_batches
from hubbleclip.pipeline.engine.stage import Stage
from hubbleclip.pipeline.remote_store import push


def fetch_file(product: Product, archive: Archive, layout: Layout, settings: Settings) -> Batch:
    """Fetch the file of one product to the disk, and send a copy to the remote store if there is one."""
    check_free_space(layout, product.size_bytes or 0, settings.fetch.min_free_gb)
    fetched = archive.fetch_product(product).product
    push(layout, [fetched.path] if fetched.path else [])
    return fetched_rows(product, fetched)


def fetched_rows(before: Product, fetched: Product) -> Batch:
    """Return the rows of a fetched file; changed content (e.g. after reprocessing) becomes the next version."""
    if fetched.sha256 == before.sha256:
        return {"product": [replace(fetched, version=before.version)], "product_version": []}
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
    return {"product": [replace(fetched, version=history.version)], "product_version": [history]}


def fetch_step(settings: Settings, name: str) -> Step:
    """Make the Step that fetches products; a later run retries the products that failed."""
    return archive_step(settings, name, "fetch", "product", key="uri", is_retried=True)


def fetch_pending(stage: Stage, archive: Archive) -> None:
    """Fetch all pending files, then remove files that were replaced by newer versions."""
    pending, settings = pending_fetch(stage.catalog, stage.settings), stage.settings
    step = fetch_step(settings, "fetch-products")
    work = partial(fetch_file, archive=archive, layout=stage.layout, settings=settings)
    run_batches(stage, step, work, products_of(stage, pending), total=len(pending), write=write_fetched)
    # All products are checked, because a killed run may have left files of older versions.
    for row in stage.catalog.named_query("old_contents"):
        stage.layout.product(row["sha256"], row["file_name"]).unlink(missing_ok=True)


def products_of(stage: Stage, uris: Sequence[str]) -> Iterator[Product]:
    """Read products lazily, one batch at a time."""
    yield from chain.from_iterable(product_batches(stage.catalog, uris, stage.settings.flows.batch_size))


def write_fetched(stage: Stage, batch: Batch) -> None:
    """Flush the files of products and tiles to disk, then write the rows of the batch to the catalog.

    A product with new content is cut again, even if no tiles could be cut from the former content.
    """
    files = [*batch.get("product", []), *batch.get("tile", [])]
    sync_files(stage.layout.absolute(file.path) for file in files if file.path)
    renewed = [version.uri for version in batch.get("product_version", [])]
    with stage.catalog.transaction():
        stage.catalog.run("clear_failures", entity="product", stage="tiles", ids=renewed)
        write_with_retries(stage, batch)


def remove_strays(stage: Stage) -> None:
    """Remove files that a killed run has left: partial files, and files to which no product refers."""
    rows = stage.catalog.rows("SELECT path FROM product WHERE path IS NOT NULL")
    named = {stage.layout.absolute(row["path"]) for row in rows}
    for path in stage.layout.products.rglob("*"):
        if path.is_file() and path not in named:
            path.unlink()


def is_intact(product: Product, layout: Layout) -> bool:
    """Return whether the disk has a product's file with the content that was fetched.

    The file was hashed when it was fetched. It is hashed again only if it was modified after the fetch, or if its size
    differs from the listed size. The sizes are not compared if extensions of the file may have been skipped.
    """
    if product.path is None or product.fetched_at is None:
        return False
    path = layout.absolute(product.path)
    if path.is_file():
        found, listed = path.stat(), product.size_bytes
        has_size = listed in {None, found.st_size} or is_sieved(product.file_name, listed)
        if has_size and found.st_mtime <= product.fetched_at.timestamp():
            return True
    return has_sha256(path, product.sha256)


def forgotten(product: Product, layout: Layout) -> Product:
    """Reset a product whose file is missing or changed, so that it is fetched again; the changed file is removed."""
    return replace(dropped(product, layout), path=None, fetched_version=None)


def is_on_disk(product: Product, layout: Layout) -> bool:
    """Return whether the disk has a product's file, intact and in the version that the archive lists."""
    is_current = product.sha256 is not None and product.archive_version == product.fetched_version
    return is_current and is_intact(product, layout)


def dropped(product: Product, layout: Layout) -> Product:
    """Remove a product's complete or partial file, and return the product; a file outside `layout.products` is kept."""
    part = layout.part(product.uri)
    for path in part.parent.glob(f"{part.stem}.*"):
        path.unlink()
    if product.path is None or not layout.absolute(product.path).is_relative_to(layout.products):
        return product
    layout.absolute(product.path).unlink(missing_ok=True)
    return replace(product, path=None)
