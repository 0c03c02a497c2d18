"""Hits as an astropy table with a column of pictures, which Jupyter shows."""

from __future__ import annotations

import base64
import html
import io
from pathlib import Path
from typing import Any

from astropy.table import Table
from PIL import Image

from hubbleclip.catalog.tile_facts import TEXT, Column
from hubbleclip.core.layout import Layout
from hubbleclip.search.export import COLUMNS, as_astropy
from hubbleclip.search.records import Hits

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
    """Make a table of hits: the pictures, and the columns that are exported."""
    rows = [hit.row() | {PICTURE: str(layout.existing_tile(hit.tile_id))} for hit in hits.hits]
    return HitTable(as_astropy(rows, (Column(PICTURE, TEXT, "File of the picture"), *COLUMNS)), copy=False)


def thumbnail(path: str) -> str:
    """Render a tile as an HTML `img` element whose source is a PNG in a data URI."""
    if not Path(path).is_file():
        return "-"
    with Image.open(path) as image:
        small = image.convert("L")
    small.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
    buffer = io.BytesIO()
    small.save(buffer, "PNG")
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img alt="tile {html.escape(Path(path).stem)}" src="data:image/png;base64,{data}">'
