"""The stage `tiles`: cut every fetched product into tiles, and make colour tiles of visits in three or more filters."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

from hubbleclip.archives import Archive, open_archive
from hubbleclip.catalog.catalog import Catalog
from hubbleclip.catalog.pending import pending_tiles
from hubbleclip.config.settings import Settings, TileSettings
from hubbleclip.core.errors import ImageError
from hubbleclip.core.io import atomic_write, sync_files
from hubbleclip.core.layout import Layout, product_suffix
from hubbleclip.core.reasons import reason_words
from hubbleclip.core.records import Product, Rejection, reject
from hubbleclip.fits.instruments import wavelength_nm
from hubbleclip.images.rgb import cut_colour, pick_parts
from hubbleclip.images.tiling import IN_MEMORY_SUFFIXES, CutResult, read_images, tile_file, to_tile_record
from hubbleclip.pipeline.engine.attempts import OUTSIDE, Batch, Step, attempt, write_with_retries
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
from hubbleclip.pipeline.remote_store import local_files, push

log = logging.getLogger("hubbleclip.pipeline")
PRODUCT = tuple(Product.__slots__)


def cut_product(product: Product, layout: Layout, settings: TileSettings, data: bytes | None = None) -> Batch:
    """Write the tiles of a product from its file on the disk, or from the file's bytes if `data` is given.

    If the file on the disk is missing or changed, the next ingest fetches it again.
    """
    now = datetime.now(UTC)
    with local_files(layout, [product.path] if product.path else []):
        if data is None and not is_intact(product, layout):
            return {"product": [forgotten(product, layout)]}
        content = layout.absolute(product.path or "") if data is None else data
        cut = tile_file(content, product.sha256 or "", settings, product.file_name)
    return store_tiles(cut, product, layout, settings, now)


def cutting(settings: TileSettings) -> Step:
    """Make the Step that cuts products into tiles."""
    return Step(name="cut-products", stage="tiles", entity="product", digest=settings.digest(), key="uri")


def fetch_cut_drop(product: Product, archive: Archive, layout: Layout, settings: Settings) -> Batch:
    """Fetch one file unless it is on disk, cut the file, and delete the file even if an error occurs.

    A small preview is fetched to memory only.
    """
    rows: Batch = {}
    data: bytes | None = None
    try:
        if not is_on_disk(product, layout):
            if product_suffix(product.file_name) in IN_MEMORY_SUFFIXES:
                delivery = archive.fetch_product(product, is_kept=False)
                rows, data = fetched_rows(product, delivery.product), delivery.data
            else:
                rows = fetch_file(product, archive, layout, settings)
            (product,) = rows["product"]
        # Products with equal content share a file, but only one of them needs tiles (see `without_repeated`). After the
        # file has been cut for one product and deleted, the other products get no tiles.
        work = partial(cut_product, product, layout, settings.tiles, data)
        cut = attempt(cutting(settings.tiles), product.uri, work)
    finally:
        left = dropped(product, layout)
    if isinstance(cut, Rejection):
        cut = {"failure" if cut.reason in OUTSIDE else "rejection": [cut]}
    return rows | cut | {"product": [left]}


def tiles(settings: Settings) -> None:
    """Cut all files that were not yet cut with the current tile settings.

    With `fetch.keep_fits = true`, the files that the stage ingest has fetched are cut. With `fetch.keep_fits = false`,
    each file is fetched, cut and deleted in one step. At most `fetch.connections` files are processed at a time, so a
    run never stores more than `fetch.connections` complete or partial files. Before the first fetch, files that a
    killed run has left are removed. A file that an earlier run with `fetch.keep_fits = true` has kept is deleted
    only when it is cut again.
    """
    with open_stage("tiles", settings) as stage:
        if stage.catalog.rows("SELECT 1 FROM rejection WHERE entity = 'product' AND reason = 'repeated' LIMIT 1"):
            stage.catalog.run("release_repeated")
        pending = pending_tiles(stage.catalog, settings)
        if settings.fetch.keep_fits:
            files = products_of(stage, pending)
            work = partial(cut_product, layout=stage.layout, settings=settings.tiles)
            run_batches(stage, cutting(settings.tiles), work, files, total=len(pending), write=write_cut)
        else:
            remove_strays(stage)
            if pending:
                with served_archive(settings) as served:
                    fetch_and_cut(stage, open_archive(served, fetch_share(settings), stage.layout), pending)
        if settings.tiles.colour:
            colour_pending(stage)


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


class Visit(NamedTuple):
    """A visit, and its products for the three colour channels, red first."""

    name: str
    parts: tuple[Product, ...]


def pending_visits(catalog: Catalog, settings: TileSettings) -> list[Visit]:
    """List the visits whose colour tiles are pending.

    Only a visit with products in at least three filters can be pending. It is pending if it was never cut or rejected,
    or if one of the three chosen products was fetched after the visit was last cut or rejected.
    """
    rows = catalog.named_query("colour_parts", settings_digest=settings.digest(), now=datetime.now(UTC))
    visits = []
    for name, group in groupby(rows, itemgetter("visit")):
        chosen = _pick(list(group))
        if chosen and any(row["coloured_at"] is None or row["coloured_at"] < row["fetched_at"] for row in chosen):
            visits.append(Visit(name, tuple(Product(**{key: row[key] for key in PRODUCT}) for row in chosen)))
    return visits


def _pick(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Select one row for each of three filters of a visit, red first; [] if there are fewer filters."""
    found = {row["uri"]: wavelength_nm(row["filter"], row["instrument"]) for row in rows}
    uris = pick_parts({uri: wavelength for uri, wavelength in found.items() if wavelength})
    by_uri = {row["uri"]: row for row in rows}
    return [by_uri[uri] for uri in uris]


def colour_visit(visit: Visit, layout: Layout, settings: TileSettings) -> Batch:
    """Write the colour tiles of a visit; if a file on the disk is missing or changed, the next ingest fetches it."""
    now = datetime.now(UTC)
    with local_files(layout, (part.path for part in visit.parts if part.path)):
        if lost := [forgotten(part, layout) for part in visit.parts if not is_intact(part, layout)]:
            return {"product": lost}
        images = [read_images(layout.absolute(part.path or ""), settings, part.file_name) for part in visit.parts]
        cut = cut_colour(images, [part.sha256 or "" for part in visit.parts], settings)  # it reads the files
    return store_tiles(cut, visit.parts[1], layout, settings, now, part_uris=[part.uri for part in visit.parts])


def colour_pending(stage: Stage) -> None:
    """Cut the colour tiles of all pending visits."""
    settings = stage.settings
    pending = pending_visits(stage.catalog, settings.tiles)
    step = Step(name="colour-visits", stage="colour", entity="visit", digest=settings.tiles.digest(), key="name")
    work = partial(colour_visit, layout=stage.layout, settings=settings.tiles)
    run_batches(stage, step, work, pending, total=len(pending), write=write_cut)


def store_tiles(
    cut: CutResult,
    product: Product,
    layout: Layout,
    settings: TileSettings,
    cut_at: datetime,
    *,
    part_uris: list[str] | None = None,
) -> Batch:
    """Write the tile files of a product or a visit, and make the rows of the tiles and of the rejected tiles.

    `part_uris` lists the URIs of the products of a visit; it is None for a product.
    """
    stage, digest = "colour" if part_uris else "tiles", settings.digest()
    if not cut.tiles:
        counted = Counter(rejection.reason for rejection in cut.rejections)
        reason = counted.most_common(1)[0][0] if counted else "no_image"
        raise ImageError(reason, "; ".join(f"{reason_words(r.reason)}: {r.detail}" for r in cut.rejections[:3]))
    records = [to_tile_record(tile, product, layout, cut_at, part_uris) for tile in cut.tiles]
    for tile, record in zip(cut.tiles, records, strict=True):
        with atomic_write(layout.absolute(record.path), is_synced=False) as temporary:
            temporary.write_bytes(tile.encoded)
    rejected = partial(reject, "tile", stage=stage, settings_digest=digest)
    rejections = [rejected(one.entity_id, reason=one.reason, detail=one.detail) for one in cut.rejections]
    push(layout, (record.path for record in records))
    return {"tile": records, "rejection": rejections}


def without_repeated(stage: Stage, batch: Batch) -> Batch:
    """Reject all but one of the products with equal content, because their tiles would have the same ids.

    A product that already has tiles is kept. If no product has tiles, the first in order of proposal and URI is kept.
    """
    tiles, digest = batch.get("tile", []), stage.settings.tiles.digest()
    contents = {product.uri: product.sha256 for product in batch.get("product", []) if product.sha256}
    contents |= {tile.product_uri: tile.product_sha256 for tile in tiles}
    sql = {"uris": list(contents), "contents": list(contents.values()), "settings_digest": digest}
    first = {row["sha256"]: row["uri"] for row in stage.catalog.named_query("cut_contents", **sql)}
    for _, uri in sorted({(tile.proposal_id, tile.product_uri) for tile in tiles}):
        first.setdefault(contents[uri], uri)
    repeated = {uri: first[content] for uri, content in contents.items() if first.get(content, uri) != uri}
    if not repeated:
        return batch
    rejected = partial(reject, "product", stage="tiles", reason="repeated", settings_digest=digest)
    new = [rejected(uri, detail=f"equal to {other}") for uri, other in repeated.items()]
    rejections = {(row.entity, row.entity_id): row for row in [*batch.get("rejection", []), *new]}
    kept = [tile for tile in tiles if tile.product_uri not in repeated]
    return batch | {"tile": kept, "rejection": list(rejections.values())}


def write_cut(stage: Stage, batch: Batch) -> None:
    """Flush the files of tiles to disk, then write the rows of the tiles to the catalog."""
    if batch.get("product"):
        num = len(batch["product"])
        log.warning("%s: %d files are missing or changed: the next ingest fetches them again", stage.name, num)
    batch = without_repeated(stage, batch)
    sync_files(stage.layout.absolute(tile.path) for tile in batch.get("tile", ()))
    write_with_retries(stage, batch)


def read_tile(layout: Layout, tile_id: str) -> bytes:
    """Read the encoded image of a tile."""
    return layout.existing_tile(tile_id).read_bytes()


def forget_damaged(stage: Stage, tile_ids: Collection[str]) -> None:
    """Delete the rows of damaged tiles, so that their products are pending again."""
    stage.catalog.run("forget_tiles", tile_ids=sorted(tile_ids))
    reason = "their images are missing or damaged: the next `hubbleclip dataset` cuts their products again"
    log.warning("%s: %d tiles are not used, because %s", stage.name, len(tile_ids), reason)
