"""Hits as an astropy table with a column of pictures, which Jupyter shows."""

from __future__ import annotations

import base64
import html
import io
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import MaskedColumn, Table
from PIL import Image

from hubbleclip.core.layout import Layout
from hubbleclip.search.query import Hits, plain

FACTS = (
    "title",
    "target_name",
    "instrument",
    "filter",
    "exposure_s",
    "observed_at",
    "ra_deg",
    "dec_deg",
    "pixel_scale_arcsec",
    "proposal_id",
    "pi",
    "split",
)
"""Facts of a tile that become columns."""
UNITS = {"exposure_s": "s", "ra_deg": "deg", "dec_deg": "deg", "pixel_scale_arcsec": "arcsec"}
NUMBERS = {"score": float, "model_rank": int, "words_rank": int} | dict.fromkeys(UNITS, float)
"""Types of the columns that are not texts."""
PICTURE = "picture"
THUMBNAIL_PX = 128


class HitTable(Table):  # type: ignore[misc]
    """Table of hits whose column `picture` holds paths; Jupyter shows the pictures themselves."""

    def _repr_html_(self) -> str:
        """Render the table with a thumbnail in each row."""
        head = "".join(f"<th>{html.escape(name)}</th>" for name in self.colnames)
        rows = "".join(f"<tr>{self._cells(row)}</tr>" for row in self)
        return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"

    def _cells(self, row: Any) -> str:
        """Render one row; all texts come from outside and are escaped."""
        return "".join(
            f"<td>{thumbnail(row[name]) if name == PICTURE else html.escape(str(row[name]))}</td>"
            for name in self.colnames
        )


def hit_table(hits: Hits, layout: Layout) -> HitTable:
    """Make a table of hits."""
    rows = [
        {
            PICTURE: str(layout.existing_tile(hit.tile_id)),
            "tile_id": hit.tile_id,
            "score": hit.score,
            "model_rank": hit.model_rank,
            "words_rank": hit.words_rank,
        }
        | {name: plain(hit.facts.get(name)) for name in FACTS}
        for hit in hits.hits
    ]
    names = (PICTURE, "tile_id", "score", "model_rank", "words_rank", *FACTS)
    table = HitTable({name: _column([row[name] for row in rows], name) for name in names})
    for name, unit in UNITS.items():
        table[name].unit = unit
    return table


def _column(values: list[Any], name: str) -> MaskedColumn:
    """Make a column whose unknown values are masked; its type does not depend on the hits."""
    kind = NUMBERS.get(name, str)
    mask = [value is None for value in values]
    filled = [kind() if value is None else value for value in values]
    return MaskedColumn(np.array(filled, kind), mask=mask)


def thumbnail(path: str) -> str:
    """Render a tile as an HTML image that contains its own data."""
    if not Path(path).is_file():
        return "-"
    with Image.open(path) as image:
        small = image.convert("L")
    small.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
    buffer = io.BytesIO()
    small.save(buffer, "PNG")
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img alt="tile {html.escape(Path(path).stem)}" src="data:image/png;base64,{data}">'
