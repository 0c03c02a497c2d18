"""`hubbleclip tile`: cut FITS and JPEG files into tiles, without catalog or archive, and draw a contact sheet."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from hubbleclip.archives.local import SKIPPED, scan_folder
from hubbleclip.catalog.tile_facts import Column
from hubbleclip.config.settings import TileSettings
from hubbleclip.contracts.schema import tables
from hubbleclip.core.errors import HubbleclipError
from hubbleclip.core.io import atomic_write, write_bytes, write_text
from hubbleclip.core.layout import tile_file_name, tile_file_stem
from hubbleclip.core.reasons import count_of, reason_words
from hubbleclip.core.records import Rejection
from hubbleclip.images.avm import with_avm
from hubbleclip.images.encode import with_texts
from hubbleclip.images.tiling import READERS, CutTile, TileRejection, tile_file
from hubbleclip.pipeline.engine.attempts import Step, attempt
from hubbleclip.pipeline.tiles.contact_sheet import render_sheet
from hubbleclip.search.export import as_astropy

Row = dict[str, Any]
"""Values of a row by name; a value that does not apply is absent or None."""

ECSV, JSON = "index.ecsv", "index.json"
OWN_COLUMNS = (
    Column("picture", pa.string(), "File of the tile in this folder; empty for a rejection"),
    Column("file", pa.string(), "File that was cut"),
    Column("extension", pa.int64(), "Index of the FITS extension + 1000 x index of the plane; 0 for JPEG"),
    Column("reason", pa.string(), "Code of the reason of a rejection"),
    Column("detail", pa.string(), "Reason of a rejection in words"),
)
CONTRACT_COLUMNS = (
    *("view", "ra_deg", "dec_deg", "pixel_scale_arcsec", "size_px", "y0", "x0", "shrink", "valid_share"),
    *("instrument", "filter", "unit", "black", "white", "softening"),
)
"""Columns whose type, unit and description are copied from the data contract of the catalog's table `tile`."""


def tile_files(paths: Sequence[Path], out_dir: Path, settings: TileSettings) -> Iterator[str]:
    """Cut files into tiles, write an index of tiles and rejections, and draw a contact sheet of all tiles."""
    files, skipped = given_files(paths, out_dir)
    step = Step(name="tile", stage="tiles", entity="product", digest=settings.digest())
    out_dir.mkdir(parents=True, exist_ok=True)
    shown = []
    counted: Counter[str] = Counter()  # number of files by stem; a repeated stem gets a suffix such as -2
    rows: list[Row] = [{"file": name, "reason": SKIPPED, "detail": why} for name, why in skipped.items()]
    yield from (f"{name}: skipped, {why}" for name, why in skipped.items())
    for path, name in files:
        stem = tile_file_stem(name)
        counted[stem] += 1
        number = f"-{counted[stem]}" if counted[stem] > 1 else ""
        cut = attempt(step, path.name, partial(tile_file, path, settings=settings))
        if isinstance(cut, Rejection):
            rows.append({"file": name, "reason": cut.reason, "detail": cut.detail})
            yield f"{name}: rejected, {reason_words(cut.reason)}: {cut.detail}"
            continue
        for tile in cut.tiles:
            rows.append(tile_row(tile, name, f"{stem}{number}"))
            write_bytes(out_dir / rows[-1]["picture"], picture_bytes(tile, rows[-1]))
        rows += [rejection_row(rejection, name) for rejection in cut.rejections]
        shown += [(tile.picture, f"{tile.view} {name}") for tile in cut.tiles]
        yield "; ".join([f"{name}: {count_of(len(cut.tiles), 'tile')}", *rejection_words(cut.rejections)])
    write_index(out_dir, rows, settings)
    if not shown:
        raise HubbleclipError(f"none of {len(files)} files gave a tile: see {out_dir / ECSV}")
    sheet, (pictures, labels) = out_dir / "sheet.png", zip(*shown, strict=True)
    with atomic_write(sheet) as temporary:
        render_sheet(pictures, labels).save(temporary, "PNG")
    yield f"{count_of(len(shown), 'tile')}, {out_dir / ECSV} and {sheet}"


def rejection_words(rejections: Sequence[TileRejection]) -> Iterator[str]:
    """Count the rejected images and tiles of a file by reason."""
    first = {one.reason: one for one in reversed(rejections)}
    for reason, num in Counter(one.reason for one in rejections).items():
        place = rejection_row(first[reason], "")
        where = ", ".join(f"{name} {place[name]}" for name in ("extension", "view", "y0", "x0") if name in place)
        yield f"{num} rejected: {reason_words(reason)} (such as {where}: {first[reason].detail})"


def given_files(paths: Sequence[Path], out_dir: Path) -> tuple[list[tuple[Path, str]], dict[str, str]]:
    """List the files to cut, as pairs (path, short name). `paths` lists files, and folders to search for files.

    The second returned value maps the name of each skipped file to the reason.
    """
    files: list[tuple[Path, str]] = []
    skipped: dict[str, str] = {}
    for path in paths:
        if path.is_dir():
            read, others = scan_folder(path, (*READERS, ".fits.fz"), out_dir)  # `READERS` has no key .fits.fz
            files += [(file, file.relative_to(path).as_posix()) for file in read]
            skipped |= others
        elif path.is_file():
            files.append((path, path.name))
        else:
            raise HubbleclipError(f"there is no file or folder {path}: give FITS or JPEG files, or folders of them")
    return files, skipped


def tile_row(tile: CutTile, file: str, stem: str) -> Row:
    """Make the row of a tile in `index.ecsv` and `index.json`."""
    place = f"y{tile.y0}_x{tile.x0}" if tile.view == "native" else tile.view
    facts = asdict(tile.geometry) if tile.geometry else {}
    own: Row = {"picture": tile_file_name(stem, tile.chip, place, tile.suffix), "file": file, "extension": tile.chip}
    own |= {"tile_id": tile.tile_id, "wcs": facts.get("wcs"), "stretch": tile.stretch.kind}
    found = {name: facts.get(name, getattr(tile, name, None)) for name in CONTRACT_COLUMNS}
    return own | found | {name: getattr(tile.stretch, name) for name in ("black", "white", "softening")}


def rejection_row(rejection: TileRejection, file: str) -> Row:
    """Make the row of a rejected image or tile."""
    _, chip, *place = rejection.entity_id.split(":")
    where: Row = {"view": place[0]} if len(place) == 1 else {}
    if len(place) == 2:
        where = {"view": "native", "y0": int(place[0]), "x0": int(place[1])}
    return {"file": file, "extension": int(chip), "reason": rejection.reason, "detail": rejection.detail} | where


def picture_bytes(tile: CutTile, row: Row) -> bytes:
    """Return a tile's image with its position as AVM metadata. A PNG also has text chunks with the values of `row`."""
    picture = with_avm(tile.encoded, row)
    if tile.suffix != ".png":
        return picture
    return with_texts(picture, {name: str(value) for name, value in row.items() if value is not None})


def write_index(folder: Path, rows: Sequence[Row], settings: TileSettings) -> None:
    """Write `index.ecsv`, which astropy reads with units, and `index.json`, which also has the WCS of each tile."""
    contract = tables()["tile"].schema()
    columns = (*OWN_COLUMNS, *(_column(contract.field(name)) for name in CONTRACT_COLUMNS))
    used = settings.recorded()
    table = as_astropy(list(rows), columns)
    table.meta = {"settings": used}
    lines = io.StringIO()
    table.write(lines, format="ascii.ecsv")
    write_text(folder / ECSV, lines.getvalue())
    write_text(folder / JSON, json.dumps({"settings": used, "rows": rows}, indent=1) + "\n")


def _column(field: pa.Field) -> Column:
    """Convert a field of the data contract of tiles to a column."""
    text = {name.decode(): value.decode() for name, value in field.metadata.items()}
    return Column(field.name, field.type, text["description"], unit=text.get("unit"))
