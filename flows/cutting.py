"""What cutting products and visits have in common: an item that fails is a rejection, files come before rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from flows._run import Batch, Stage, attempt, write_rows
from hubbleclip.files import sync_files, write_bytes
from hubbleclip.images.tiles import CutTile, to_tile_record
from hubbleclip.paths import Layout
from hubbleclip.records import Product, Rejection, Tile

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
