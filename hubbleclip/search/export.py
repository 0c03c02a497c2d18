"""Hits as tables with units and UCDs: CSV, VOTable, ECSV and Parquet, and an astropy table with pictures."""

from __future__ import annotations

import base64
import html
import io
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
from astropy import units
from astropy.io.votable import from_table
from astropy.io.votable.tree import Info, VOTableFile
from astropy.table import MaskedColumn, Table
from PIL import Image
from pyarrow import parquet
from pydantic_core import to_jsonable_python

from hubbleclip.catalog.tile_facts import FACTS, INTEGER, REAL, TEXT, Column
from hubbleclip.core.csv_tables import csv_bytes
from hubbleclip.core.errors import NotFoundError
from hubbleclip.core.layout import Layout
from hubbleclip.search.records import Hits, IndexStatus
from hubbleclip.search.stores.base import Floats

HitRow = dict[str, Any]
"""A hit as one flat row, the result of `Hit.row`."""
NOT_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Matches characters that XML does not allow, such as control characters."""
SCORES = (
    Column("score", REAL, "Score of the search, higher is better", "stat.fit.goodness"),
    Column("model_rank", INTEGER, "Rank by the model, from 1", "meta.number"),
    Column("words_rank", INTEGER, "Rank by words (BM25), from 1", "meta.number"),
    Column("num_folded", INTEGER, "Number of further hits of the same group", "meta.number"),
)
COLUMNS = (FACTS[0], *SCORES, *FACTS[1:])
"""Columns of exported hits."""
PICTURE = "picture"
IMAGES_PER_GROUP = 100
THUMBNAIL_PX, QUALITY = 128, 80
"""Maximum side, in pixels, of a picture in a table, and Pillow's JPEG quality of small pictures."""


SCHEMA = pa.schema(
    pa.field(c.name, c.kind, metadata={"unit": c.unit or "", "ucd": c.ucd, "description": c.description})
    for c in COLUMNS
)


def as_astropy(rows: Sequence[HitRow], columns: Iterable[Column] = COLUMNS) -> Table:
    """Return rows as an astropy table with units; unknown values are masked."""
    table = Table()
    for column in columns:
        values = [row.get(column.name) for row in rows]
        blank: Any = "" if column.kind == TEXT else 0
        shown = [blank if value is None else value for value in values]
        made = MaskedColumn(
            [NOT_XML.sub("\ufffd", text) for text in shown] if column.kind == TEXT else shown,
            name=column.name,
            mask=[value is None for value in values],
            description=column.description,
            dtype=str if column.kind == TEXT else pa.array([], column.kind).to_numpy(zero_copy_only=False).dtype,
            unit=units.Unit(column.unit) if column.unit else None,
            meta={"ucd": column.ucd},
        )
        table.add_column(made)
    return table


def as_votable(table: Table, infos: Mapping[str, str], description: str, utypes: Mapping[str, str]) -> bytes:
    """Write an astropy table as a VOTable 1.4; `utypes` has the utypes by column name."""
    file = from_table(table)
    file.version = "1.4"
    resource = file.resources[0]
    resource.description, resource.type = description, "results"
    for field in resource.tables[0].fields:
        field.ucd, field.utype = table[field.name].meta.get("ucd") or None, utypes.get(field.name)
        if field.arraysize:
            field.arraysize = "*"  # variable length, also for texts of one character
    resource.infos.extend(Info(name=name, value=value) for name, value in infos.items())
    return votable_bytes(file)


def votable_bytes(file: VOTableFile) -> bytes:
    """Write a VOTable."""
    content = io.BytesIO()
    file.to_xml(content)
    return content.getvalue()


def _csv(rows: Sequence[HitRow], _: Mapping[str, str]) -> bytes:
    return csv_bytes(pa.Table.from_pylist(rows, schema=SCHEMA))


def _parquet(rows: Sequence[HitRow], infos: Mapping[str, str]) -> bytes:
    content = io.BytesIO()
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    parquet.write_table(table.replace_schema_metadata(dict(infos)), content)
    return content.getvalue()


def _ecsv(rows: Sequence[HitRow], infos: Mapping[str, str]) -> bytes:
    content = io.StringIO()
    table = as_astropy(rows)
    table.meta = dict(infos)
    table.write(content, format="ascii.ecsv")
    return content.getvalue().encode()


def _votable(rows: Sequence[HitRow], infos: Mapping[str, str]) -> bytes:
    return as_votable(as_astropy(rows), infos, "Tiles that a search found", {})


def infos_of(status: IndexStatus) -> dict[str, str]:
    """Convert the status of the index to strings by name, for the header of a table."""
    return {name: str(value) for name, value in asdict(status).items() if value is not None}


def as_json(hits: Hits) -> dict[str, Any]:
    """Convert a page of hits to JSON values; the item `understood` has the parameters of the search."""
    values = {one.name: getattr(hits, one.name) for one in fields(hits) if one.name != "params"}
    own = {"hits": [hit.row() for hit in hits.hits], "understood": hits.params.lists()}
    return dict(to_jsonable_python(values | own))


Writer = Callable[[Sequence[HitRow], Mapping[str, str]], bytes]
FORMATS: Mapping[str, tuple[str, str, Writer]] = {
    "csv": ("text/csv; charset=utf-8", "csv", _csv),
    "votable": ("application/x-votable+xml", "vot", _votable),
    "ecsv": ("text/plain; charset=utf-8", "ecsv", _ecsv),
    "parquet": ("application/vnd.apache.parquet", "parquet", _parquet),
}
"""Media type, file suffix and writer of each format."""


def write_images(file: str | Path | IO[bytes], hits: Hits, feat_nd: Floats, layout: Layout) -> None:
    """Write hits, pictures and features as Parquet, in the form that pandas and Hugging Face datasets read."""
    values: dict[str, Any] = {
        name: {"dtype": str(SCHEMA.field(name).type).replace("double", "float64"), "_type": "Value"}
        for name in SCHEMA.names
    }
    values |= {
        "image": {"_type": "Image"},
        "feature": {"feature": {"dtype": "float32", "_type": "Value"}, "_type": "List"},
    }
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    schema = pa.schema([*SCHEMA, pa.field("image", image), pa.field("feature", pa.list_(pa.float32()))])
    about = infos_of(hits.index) | {"huggingface": json.dumps({"info": {"features": values}})}
    with parquet.ParquetWriter(file, schema.with_metadata(about)) as writer:
        for start in range(0, len(hits.hits), IMAGES_PER_GROUP):
            rows = [hit.row() for hit in hits.hits[start : start + IMAGES_PER_GROUP]]
            for row, feat_d in zip(rows, feat_nd[start : start + IMAGES_PER_GROUP], strict=True):
                picture = layout.existing_tile(row["tile_id"])
                row["image"] = {"bytes": picture.read_bytes() if picture.is_file() else None, "path": picture.name}
                row["feature"] = feat_d
            writer.write_table(pa.Table.from_pylist(rows, schema=schema))


class HitTable(Table):  # type: ignore[misc]
    """Table of hits whose column `picture` holds paths; Jupyter shows the pictures themselves."""

    def _repr_html_(self) -> str:
        """Render the table with a thumbnail in each row."""
        head = "".join(f"<th>{html.escape(name)}</th>" for name in self.colnames)
        # The texts come from outside this program, so they are escaped.
        shown = [map(thumbnail if one == PICTURE else html.escape, map(str, self[one])) for one in self.colnames]
        rows = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in zip(*shown, strict=True))
        return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def hit_table(hits: Hits, layout: Layout) -> HitTable:
    """Make a table of hits that consists of the pictures and all exported columns."""
    rows = [hit.row() | {PICTURE: str(layout.existing_tile(hit.tile_id))} for hit in hits.hits]
    return HitTable(as_astropy(rows, (Column(PICTURE, TEXT, "File of the picture"), *COLUMNS)), copy=False)


def thumbnail(path: str) -> str:
    """Render a tile as an HTML `img` element whose source is a data URI."""
    try:
        data = base64.b64encode(draw_thumbnail(Path(path), THUMBNAIL_PX)).decode()
    except NotFoundError:
        return "-"
    return f'<img alt="tile {html.escape(Path(path).stem)}" src="data:image/jpeg;base64,{data}">'


def draw_thumbnail(path: Path, side_px: int) -> bytes:
    """Make a small picture of a tile, as JPEG."""
    content = io.BytesIO()
    try:
        with Image.open(path) as picture:
            picture.thumbnail((side_px, side_px))
            picture.save(content, "JPEG", quality=QUALITY)
    except (OSError, SyntaxError, ValueError) as error:
        raise NotFoundError(f"the picture of tile {path.stem} cannot be read on this machine") from error
    return content.getvalue()
