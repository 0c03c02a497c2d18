"""Small pictures of tiles, as data URIs that a page can carry."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
from PIL import Image

from hubbleclip.dataset.build import DatasetInfo


def thumbnail_uri(png: bytes, side_px: int) -> str:
    """The tile as a JPEG of `side_px`, as a data URI; the same bytes for the same tile."""
    with Image.open(io.BytesIO(png)) as image:
        return jpeg_uri(image.convert("L").resize((side_px, side_px), Image.Resampling.LANCZOS))


def jpeg_uri(image: Image.Image) -> str:
    """A picture as JPEG, as a data URI."""
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=84)
    return data_uri(buffer.getvalue(), "image/jpeg")


def thumbnail_levels(uri: str) -> npt.NDArray[np.uint8]:
    """Grey levels (y, x) of a picture made by `thumbnail_uri`."""
    with Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))) as image:
        return np.asarray(image)


def data_uri(data: bytes, media_type: str) -> str:
    """Bytes as a URI that a page can carry."""
    return f"data:{media_type};base64,{base64.b64encode(data).decode('ascii')}"


def read_thumbnails(info: DatasetInfo, tile_ids: Iterable[str], side_px: int) -> dict[str, str]:
    """Data URIs by tile id."""
    wanted = sorted(set(tile_ids))
    return {
        tile_id: thumbnail_uri(png, side_px) for tile_id, png in zip(wanted, info.read_tile_images(wanted), strict=True)
    }
