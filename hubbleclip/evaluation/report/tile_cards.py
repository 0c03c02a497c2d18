"""What the report shows at each tile: picture, scale bar, north and east, position, and links."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hubbleclip.core.records import Sample
from hubbleclip.evaluation.report.answers import Answer, mark_of
from hubbleclip.evaluation.report.thumbnails import Thumbnail
from hubbleclip.fits.positions import compass_of_corners, sexagesimal
from hubbleclip.missions.links import Link, archive_links

SEARCH_PAGE = "http://127.0.0.1:8765/tiles/{}"
"""Page of a tile while `hubbleclip serve` runs with its default port on the machine of the reader."""


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


def answer_card(
    query: str, answer: Answer, samples: Sequence[Sample], pictures: Mapping[str, Thumbnail]
) -> dict[str, Any]:
    """Make the template variables of an answer to an example query."""
    best = samples[answer.tile]
    filters = sorted({samples[tile].filter or "" for tile in answer.others} - {best.filter or "", ""})
    also = f" ({', '.join(filters)})" if filters else ""
    others = f"and {len(answer.others)} more of this field{also}" if answer.others else ""
    return {**tile_card(best, pictures), "mark": mark_of(query, best), "others": others}
