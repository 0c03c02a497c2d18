"""Read the images of tiles, and forget the tiles whose images a disk has lost or damaged."""

from __future__ import annotations

import logging
from collections.abc import Collection

from hubbleclip.core.layout import Layout
from hubbleclip.pipeline.engine.stage import Stage

log = logging.getLogger("hubbleclip.pipeline")


def read_tile(layout: Layout, tile_id: str) -> bytes:
    """Read the encoded image of a tile."""
    return layout.existing_tile(tile_id).read_bytes()


def forget_damaged(stage: Stage, tile_ids: Collection[str]) -> None:
    """Delete the rows of damaged tiles, so that their products are pending again."""
    stage.catalog.run("forget_tiles", tile_ids=sorted(tile_ids))
    log.warning(
        "%s: %d tiles are rejected, because their images are missing or damaged: "
        "the next `hubbleclip dataset` cuts their products again",
        stage.name,
        len(tile_ids),
    )
