"""What cutting products and visits have in common: an item that fails is a rejection, files come before rows."""

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
"""Cuts one item: its tiles, and those left out."""


def cut_each(cuts: Iterable[tuple[str, Cut]], *, entity: str, stage: str, digest: str) -> Batch:
    """Tiles and rejections of some items by their ids."""
    batch: Batch = {"tile": [], "rejection": []}
    for entity_id, cut in cuts:
        outcome = attempt(cut, entity=entity, entity_id=entity_id, stage=stage, digest=digest)
        tiles, rejections = ([], [outcome]) if isinstance(outcome, Rejection) else outcome
        batch["tile"].extend(tiles)
        batch["rejection"].extend(rejections)
    return batch


def check_tiles(cut: CutResult) -> None:
    """Raise ImageError with the commonest reason where there is no tile, so that the item as a whole is left out."""
    if cut.tiles:
        return
    counted = Counter(rejection.reason for rejection in cut.rejections)
    reason = counted.most_common(1)[0][0] if counted else "no_image"
    raise ImageError(reason, "; ".join(f"{r.reason}: {r.detail}" for r in cut.rejections[:3]))


def left_out_rows(left: Iterable[TileRejection], stage: str, digest: str, rejected_at: datetime) -> list[Rejection]:
    """Rows of the tiles that were left out where others were kept."""
    return [
        Rejection(
            entity="tile", entity_id=r.entity_id, stage=stage, reason=r.reason, detail=r.detail,
            settings_digest=digest, rejected_at=rejected_at,
        )
        for r in left
    ]  # fmt: skip


def write_tiles(
    tiles: Sequence[CutTile], product: Product, layout: Layout, cut_at: datetime, part_uris: list[str] | None = None
) -> list[Tile]:
    """Write the files of tiles; returns their rows. They are safe from a power cut only once `write_cut` has synced
    them: one sync of many takes a twentieth of the time of as many syncs.
    """
    records = [to_tile_record(tile, product, layout, cut_at, part_uris) for tile in tiles]
    for tile, record in zip(tiles, records, strict=True):
        write_bytes(layout.absolute(record.path), tile.png, is_synced=False)
    return records


def write_cut(stage: Stage, batch: Batch) -> None:
    """Write the rows of tiles, once their files are safe on the disk."""
    sync_files(stage.layout.absolute(tile.path) for tile in batch.get("tile", ()))
    write_rows(stage, batch)
