"""Cards of the report. A card shows a tile or a field of sky, its scale and position, links, and a right/wrong mark."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from hubbleclip.core.records import Sample
from hubbleclip.core.vectors import unit_vectors
from hubbleclip.dataset.build import DatasetInfo
from hubbleclip.fits.positions import compass_of_corners, sexagesimal
from hubbleclip.missions.links import Link, archive_links

SEARCH_PAGE = "http://127.0.0.1:8765/tiles/{}"
"""URL of a tile's page. It works if `hubbleclip serve` runs on the reader's own machine at the default port."""


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


QUERY_CLASSES = {
    "a spiral galaxy seen face-on": r"spiral",
    "an elliptical galaxy with a smooth halo": r"elliptical",
    "two galaxies merging, with tidal tails": r"merg|interacting",
    "a cluster of galaxies with gravitationally lensed arcs": r"galaxy cluster|cluster of galaxies|rich cluster|lens",
    "a dense globular cluster of stars": r"globular",
    "a young open cluster": r"open cluster|galactic cluster",
    "a planetary nebula around a dying star": r"planetary nebula",
    "the filaments of a supernova remnant": r"supernova remnant",
    "a nebula where stars form": r"star-forming|\bh ?ii\b|emission nebula|diffuse nebula",
    "a giant planet with cloud bands": r"\bplanet\b|jupiter|saturn|uranus|neptune",
    "a comet with its coma and tail": r"comet",
    "a deep field of faint distant galaxies": r"deep field|blank (sky|field)|high[- ]redshift",
}
"""Regular expressions that match the target classes of correct answers, by example query of the vocabulary."""
SAME_FIELD_SHARE = 0.5
"""Largest distance between the centres of two tiles of one field, as a share of a tile's side."""
MAX_RANKED = 200
"""For each query, the number of nearest tiles that are grouped by field of sky."""


Field = list[int]
"""Indices of the tiles that show one field of sky, in descending order of their similarity to the query."""


def fold_fields(samples: Sequence[Sample], ranked: Iterable[int], count: int) -> list[Field]:
    """Group ranked tiles by field of sky, so that several images of one field count as one answer."""
    fields: list[Field] = []
    for tile in ranked:
        same = next((field for field in fields if is_same_field(samples[field[0]], samples[tile])), None)
        if same is not None:
            same.append(tile)
        elif len(fields) < count:
            fields.append([tile])
    return fields


def is_same_field(one: Sample, other: Sample) -> bool:
    """Test whether two tiles have the same proposal and target, or nearly the same position on the sky."""
    if one.target_name and (one.proposal_id, one.target_name) == (other.proposal_id, other.target_name):
        return True
    if one.is_moving or other.is_moving or len(one.corners_deg) != 8 or len(other.corners_deg) != 8:
        return False
    (first, second, *_), centres = _corners(one), [_corners(each).mean(axis=0) for each in (one, other)]
    return bool(np.linalg.norm(centres[0] - centres[1]) <= SAME_FIELD_SHARE * np.linalg.norm(first - second))


def _corners(sample: Sample) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Convert the four corners of a tile to unit vectors (4, 3) in the equatorial frame."""
    return unit_vectors(*np.reshape(sample.corners_deg, (4, 2)).T)


def mark_of(query: str, sample: Sample) -> str:
    """Return "right" if a tile's target class matches a query, else "wrong"; "" if the class or query is unknown."""
    pattern = QUERY_CLASSES.get(query)
    if not (pattern and sample.target_class):
        return ""
    return "right" if re.search(pattern, sample.target_class.lower()) else "wrong"


def field_card(
    query: str, field: Field, samples: Sequence[Sample], pictures: Mapping[str, Thumbnail]
) -> dict[str, Any]:
    """Make the template variables of a field of sky that was found for an example query."""
    best, *others = (samples[tile] for tile in field)
    filters = sorted({sample.filter or "" for sample in others} - {best.filter or "", ""})
    also = f" ({', '.join(filters)})" if filters else ""
    more = f"and {len(others)} more of this field{also}" if others else ""
    return {**tile_card(best, pictures), "mark": mark_of(query, best), "others": more}
