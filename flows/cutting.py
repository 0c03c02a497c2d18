"""What cutting products and visits have in common: an item that fails is a rejection, files come before rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from flows._run import Batch, attempt
from hubbleclip.files import write_bytes
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
    """Write the files of tiles; returns their rows."""
    records = [to_tile_record(tile, product, layout, cut_at, part_uris) for tile in tiles]
    for tile, record in zip(tiles, records, strict=True):
        write_bytes(layout.absolute(record.path), tile.png)
    return records
