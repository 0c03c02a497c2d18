"""The index of `hubbleclip tile`: one row per tile, rejected tile, rejected image and file without tile."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa

from hubbleclip.catalog.tile_facts import Column
from hubbleclip.config.settings import TileSettings
from hubbleclip.contracts.schema import tables
from hubbleclip.core.io import write_text
from hubbleclip.core.layout import tile_file_name
from hubbleclip.images.encode import with_texts
from hubbleclip.images.tiling import CutTile, TileRejection
from hubbleclip.search.export import as_astropy

Row = dict[str, Any]
"""Values of a row by name; a value that does not apply is absent or None."""

ECSV, JSON = "index.ecsv", "index.json"
OWN_COLUMNS = (
    Column("picture", pa.string(), "File of the tile in this folder; none for what was rejected"),
    Column("file", pa.string(), "File that was cut"),
    Column("extension", pa.int64(), "FITS extension of the image, plus 1000 per plane of a cube; 0 in a JPEG file"),
    Column("reason", pa.string(), "Code of the reason of a rejection"),
    Column("detail", pa.string(), "Reason of a rejection in words"),
)
CONTRACT_COLUMNS = (
    *("view", "ra_deg", "dec_deg", "pixel_scale_arcsec", "size_px", "y0", "x0", "shrink", "valid_share"),
    *("instrument", "filter", "unit", "black", "white", "softening"),
)
"""Columns whose type, unit and description are those of the catalog's table of tiles."""


def tile_row(tile: CutTile, file: str, stem: str) -> Row:
    """Make the row of a tile."""
    place = f"y{tile.y0}_x{tile.x0}" if tile.view == "native" else tile.view
    facts = asdict(tile.geometry) if tile.geometry else {}
    own = {
        "picture": tile_file_name(stem, tile.chip, place, tile.suffix),
        "file": file,
        "extension": tile.chip,
        "tile_id": tile.tile_id,
        "wcs": facts.get("wcs"),
        "stretch": tile.stretch.kind,
    }
    found = {name: facts.get(name, getattr(tile, name, None)) for name in CONTRACT_COLUMNS}
    limits = {name: getattr(tile.stretch, name) for name in ("black", "white", "softening")}
    return own | found | limits


def rejection_row(rejection: TileRejection, file: str) -> Row:
    """Make the row of a rejected image or tile."""
    _, chip, *place = rejection.entity_id.split(":")
    where: Row = {"view": place[0]} if len(place) == 1 else {}
    if len(place) == 2:
        where = {"view": "native", "y0": int(place[0]), "x0": int(place[1])}
    return {"file": file, "extension": int(chip), "reason": rejection.reason, "detail": rejection.detail} | where


def picture_bytes(tile: CutTile, row: Row) -> bytes:
    """Return the content of a tile's file; a PNG has the known values of its row as text chunks."""
    if tile.suffix != ".png":
        return tile.encoded
    return with_texts(tile.encoded, {name: str(value) for name, value in row.items() if value is not None})


def write_index(folder: Path, rows: Sequence[Row], settings: TileSettings) -> None:
    """Write `index.ecsv`, which astropy reads with units, and `index.json`, which also has the WCS of each tile."""
    contract = tables()["tile"].schema()
    columns = (*OWN_COLUMNS, *(_column(contract.field(name)) for name in CONTRACT_COLUMNS))
    used = settings.model_dump(mode="json")
    table = as_astropy(list(rows), columns)
    table.meta = {"settings": used}
    lines = io.StringIO()
    table.write(lines, format="ascii.ecsv")
    write_text(folder / ECSV, lines.getvalue())
    write_text(folder / JSON, json.dumps({"settings": used, "rows": rows}, indent=1) + "\n")


def _column(field: pa.Field) -> Column:
    """Describe a column of the contract."""
    text = {name.decode(): value.decode() for name, value in field.metadata.items()}
    return Column(field.name, field.type, text["description"], unit=text.get("unit"))
