"""Encode small images of tiles as data URIs, so that the report page needs no other files."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from hubbleclip.dataset.build import DatasetInfo


class Thumbnail(NamedTuple):
    """A small picture of a tile as a data URI, and the side of the tile itself in pixels."""

    uri: str
    size_px: int


def make_thumbnail(png: bytes, side_px: int) -> Thumbnail:
    """Convert a tile to a small JPEG; the same tile always gives the same bytes."""
    with Image.open(io.BytesIO(png)) as image:
        small = image.convert("L").resize((side_px, side_px), Image.Resampling.LANCZOS)
        return Thumbnail(jpeg_uri(small), image.width)


def jpeg_uri(image: Image.Image) -> str:
    """Encode an image as a data URI of a JPEG."""
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=84)
    return data_uri(buffer.getvalue(), "image/jpeg")


def thumbnail_levels(uri: str) -> npt.NDArray[np.uint8]:
    """Decode a thumbnail to its grey levels."""
    with Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))) as image:
        return np.asarray(image)


def data_uri(data: bytes, media_type: str) -> str:
    """Encode bytes as a data URI."""
    return f"data:{media_type};base64,{base64.b64encode(data).decode('ascii')}"


def read_thumbnails(info: DatasetInfo, tile_ids: Iterable[str], side_px: int) -> dict[str, Thumbnail]:
    """Read thumbnails of tiles from a dataset's shards."""
    ids = sorted(set(tile_ids))
    return {tile_id: make_thumbnail(png, side_px) for tile_id, png in zip(ids, info.read_tile_images(ids), strict=True)}
