"""What cutting products and visits have in common: a failed item is a rejection, files are written before rows."""

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
"""Cuts one item: its tiles, and those that were rejected."""


def cut_each(cuts: Iterable[tuple[str, Cut]], *, entity: str, stage: str, digest: str) -> Batch:
    """Cut some items into tiles.

    Parameters
    ----------
    cuts
        Id of each item, and a function that cuts it.
    entity
        Kind of item, such as ``"product"``.
    stage
        Name of the stage that rejects.
    digest
        Digest of the tile settings.

    Returns
    -------
    dict
        Rows for `tile` and `rejection`.

    """
    batch: Batch = {"tile": [], "rejection": []}
    for entity_id, cut in cuts:
        outcome = attempt(cut, entity=entity, entity_id=entity_id, stage=stage, digest=digest)
        tiles, rejections = ([], [outcome]) if isinstance(outcome, Rejection) else outcome
        batch["tile"].extend(tiles)
        batch["rejection"].extend(rejections)
    return batch


def check_tiles(cut: CutResult) -> None:
    """Check that an item has at least one tile.

    Parameters
    ----------
    cut
        Tiles and rejections of one item.

    Raises
    ------
    ImageError
        When there is no tile, with the commonest reason, so that the item as a whole is rejected.

    """
    if cut.tiles:
        return
    counted = Counter(rejection.reason for rejection in cut.rejections)
    reason = counted.most_common(1)[0][0] if counted else "no_image"
    raise ImageError(reason, "; ".join(f"{r.reason}: {r.detail}" for r in cut.rejections[:3]))


def rejection_rows(
    rejected: Iterable[TileRejection], stage: str, digest: str, rejected_at: datetime
) -> list[Rejection]:
    """Rows of the tiles that were rejected where others of the item were kept.

    Parameters
    ----------
    rejected
        Tiles with their reasons.
    stage
        Name of the stage that rejects.
    digest
        Digest of the tile settings.
    rejected_at
        Time of the rejection (UTC).

    Returns
    -------
    list of Rejection
        One per tile.

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
    """Write the files of tiles.

    They are safe from a power cut only after `write_cut` has synchronised them: one sync of many files takes a
    twentieth of the time of as many syncs.

    Parameters
    ----------
    tiles
        Tiles of one item.
    product
        The product that they were cut from.
    layout
        File names of the profile.
    cut_at
        Time of the cut (UTC).
    part_uris
        For a colour tile, the products of its three channels, red first.

    Returns
    -------
    list of Tile
        Their rows.

    """
    records = [to_tile_record(tile, product, layout, cut_at, part_uris) for tile in tiles]
    for tile, record in zip(tiles, records, strict=True):
        write_bytes(layout.absolute(record.path), tile.encoded, is_synced=False)
    return records


def write_cut(stage: Stage, batch: Batch) -> None:
    """Write the rows of tiles after their files are safe on disk.

    Parameters
    ----------
    stage
        The stage with the open catalog.
    batch
        Rows for `tile` and `rejection`.

    """
    sync_files(stage.layout.absolute(tile.path) for tile in batch.get("tile", ()))
    write_rows(stage, batch)
