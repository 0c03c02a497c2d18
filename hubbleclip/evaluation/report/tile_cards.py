"""What the report shows at each tile: its picture as a data URI, scale bar, north and east, position, and links."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from hubbleclip.core.records import Sample
from hubbleclip.dataset.build import DatasetInfo
from hubbleclip.fits.positions import compass_of_corners, sexagesimal
from hubbleclip.missions.links import Link, archive_links

SEARCH_PAGE = "http://127.0.0.1:8765/tiles/{}"
"""Page of a tile while `hubbleclip serve` runs with its default port on the machine of the reader."""


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


def tile_card(sample: Sample, pictures: Mapping[str, Thumbnail]) -> dict[str, Any]:
    """Make the template variables of a tile."""
    picture = pictures[sample.tile_id]
    side_arcsec = (sample.pixel_scale_arcsec or 0.0) * picture.size_px
    has_position = sample.ra_deg is not None and sample.dec_deg is not None
    facts = {"proposal_id": sample.proposal_id, "obs_id": sample.obs_id, "product_uri": sample.product_uri}
    search = Link(text="In the search", url=SEARCH_PAGE.format(sample.tile_id))
    return {
        "picture": picture.uri,
        "sample": sample,
        "mark": "",
        "compass": compass_of_corners(sample.corners_deg, side_arcsec),
        "position": sexagesimal(sample.ra_deg or 0.0, sample.dec_deg or 0.0) if has_position else None,
        "links": [search, *archive_links(facts)],
    }
