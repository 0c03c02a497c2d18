"""Functions to cut products and to cut visits.

An item that fails becomes a Rejection. Files are written before their rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from hubbleclip.core.errors import ImageError
from hubbleclip.core.io import sync_files, write_bytes
from hubbleclip.core.layout import Layout
from hubbleclip.core.records import Product, Rejection, Tile
from hubbleclip.images.tiling import CutResult, CutTile, TileRejection, to_tile_record
from hubbleclip.pipeline.engine.attempts import attempt
from hubbleclip.pipeline.engine.batches import write_rows
from hubbleclip.pipeline.engine.connections import Batch
from hubbleclip.pipeline.engine.stage import Stage

Cut = Callable[[], tuple[list[Tile], list[Rejection]]]
"""Function that cuts one item and returns the rows of its tiles and of its rejected tiles."""


def cut_each(cuts: Iterable[tuple[str, Cut]], *, entity: str, stage: str, digest: str) -> Batch:
    """Cut some items into tiles.

    Parameters
    ----------
    cuts
        For each item, its id and a function that cuts the item.
    entity
        Kind of item, such as ``"product"``.
    stage
        Name of the stage, recorded in the rejections.
    digest
        Digest of the tile settings.

    Returns
    -------
    dict
        Rows of `tile` and `rejection`, by these names.

    """
    batch: Batch = {"tile": [], "rejection": []}
    for entity_id, cut in cuts:
        outcome = attempt(cut, entity=entity, entity_id=entity_id, stage=stage, digest=digest)
        tiles, rejections = ([], [outcome]) if isinstance(outcome, Rejection) else outcome
        batch["tile"].extend(tiles)
        batch["rejection"].extend(rejections)
    return batch


def check_tiles(cut: CutResult) -> None:
    """Check that at least one tile was cut from an item.

    Parameters
    ----------
    cut
        Tiles and rejections of one item.

    Raises
    ------
    ImageError
        When there is no tile; the whole item is then rejected with the most frequent reason of its rejected tiles.

    """
    if cut.tiles:
        return
    counted = Counter(rejection.reason for rejection in cut.rejections)
    reason = counted.most_common(1)[0][0] if counted else "no_image"
    raise ImageError(reason, "; ".join(f"{r.reason}: {r.detail}" for r in cut.rejections[:3]))


def rejection_rows(
    rejected: Iterable[TileRejection], stage: str, digest: str, rejected_at: datetime
) -> list[Rejection]:
    """Make the rows of the rejected tiles of an item that has other tiles.

    Parameters
    ----------
    rejected
        The rejected tiles with their reasons.
    stage
        Name of the stage, recorded in the rejections.
    digest
        Digest of the tile settings.
    rejected_at
        Time of the rejection (UTC).

    Returns
    -------
    list of Rejection
        One row per rejected tile.

    """
    return [
        Rejection(
            entity="tile", entity_id=r.entity_id, stage=stage, reason=r.reason, detail=r.detail,
            settings_digest=digest, rejected_at=rejected_at,
        )
        for r in rejected
    ]  # fmt: skip


def write_tiles(
    tiles: Sequence[CutTile], product: Product, layout: Layout, cut_at: datetime, part_uris: list[str] | None = None
) -> list[Tile]:
    """Write the files of the tiles of one item.

    The files may be lost in a power failure until `write_cut` has synchronised them to the disk. Synchronising many
    files at once takes a twentieth of the time of synchronising each file separately.

    Parameters
    ----------
    tiles
        The tiles of the item.
    product
        The product from which the tiles were cut.
    layout
        Paths of the profile's files and folders.
    cut_at
        Time of the cut (UTC).
    part_uris
        For colour tiles, the URIs of the products of the three channels, red first.

    Returns
    -------
    list of Tile
        One row per tile.

    """
    records = [to_tile_record(tile, product, layout, cut_at, part_uris) for tile in tiles]
    for tile, record in zip(tiles, records, strict=True):
        write_bytes(layout.absolute(record.path), tile.encoded, is_synced=False)
    return records


def write_cut(stage: Stage, batch: Batch) -> None:
    """Synchronise the files of tiles to the disk, then write their rows to the catalog.

    Parameters
    ----------
    stage
        The running stage, whose catalog is open for writing.
    batch
        Rows of `tile` and `rejection`, by these names.

    """
    sync_files(stage.layout.absolute(tile.path) for tile in batch.get("tile", ()))
    write_rows(stage, batch)
