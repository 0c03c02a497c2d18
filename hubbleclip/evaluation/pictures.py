"""Small pictures of tiles, as data URIs that a page can carry."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from pathlib import Path

import pyarrow.compute as pc
from PIL import Image

from hubbleclip.dataset.shards import DatasetInfo


def read_png(info: DatasetInfo, tile_id: str) -> bytes:
    """The PNG of a tile, straight from its place in the shard."""
    row = info.manifest.filter(pc.field("tile_id") == tile_id).to_pylist()[0]
    with (info.path / Path(row["shard"]).name).open("rb") as file:
        file.seek(row["offset"])
        return file.read(row["length"])


def thumbnail_uri(png: bytes, side_px: int) -> str:
    """The tile as a JPEG of `side_px`, as a data URI; the same bytes for the same tile."""
    with Image.open(io.BytesIO(png)) as image:
        small = image.convert("L").resize((side_px, side_px), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, format="JPEG", quality=84)
    return data_uri(buffer.getvalue(), "image/jpeg")


def data_uri(data: bytes, media_type: str) -> str:
    """Bytes as a URI that a page can carry."""
    return f"data:{media_type};base64,{base64.b64encode(data).decode('ascii')}"


def read_thumbnails(info: DatasetInfo, tile_ids: Iterable[str], side_px: int) -> dict[str, str]:
    """Data URIs by tile id."""
    return {tile_id: thumbnail_uri(read_png(info, tile_id), side_px) for tile_id in sorted(set(tile_ids))}
