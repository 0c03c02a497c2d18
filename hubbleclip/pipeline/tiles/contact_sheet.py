"""Contact sheets, which show many labelled tiles for inspection by eye."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from hubbleclip.core.io import write_bytes

LABEL_PX = 14
GAP_PX = 4
LABEL_CHARACTER_PX = 6
"""Width of a character in Pillow's default font, in pixels."""
INK, PAPER = 230, 40
"""Grey levels of the labels and of the background."""


def render_sheet(
    tiles_yx: Sequence[NDArray[np.uint8]], labels: Sequence[str], columns: int = 4, cell_px: int = 256
) -> Image.Image:
    """Draw tiles in a grid, each under its label."""
    rows = max(1, -(-len(tiles_yx) // columns))  # the number of rows is rounded up
    pitch_x, pitch_y = cell_px + GAP_PX, cell_px + LABEL_PX + GAP_PX
    sheet = Image.new("L", (columns * pitch_x + GAP_PX, rows * pitch_y + GAP_PX), PAPER)
    draw = ImageDraw.Draw(sheet)
    for index, (levels_yx, label) in enumerate(zip(tiles_yx, labels, strict=True)):
        x, y = GAP_PX + index % columns * pitch_x, GAP_PX + index // columns * pitch_y
        picture = Image.fromarray(np.ascontiguousarray(levels_yx))
        sheet.paste(picture.resize((cell_px, cell_px), Image.Resampling.BOX), (x, y + LABEL_PX))
        draw.text((x, y), _to_latin1(label)[: cell_px // LABEL_CHARACTER_PX], fill=INK)
    return sheet


def write_sheet(
    tiles_yx: Sequence[NDArray[np.uint8]], labels: Sequence[str], path: Path, columns: int = 4, cell_px: int = 256
) -> None:
    """Write a contact sheet as a PNG file, atomically."""
    buffer = io.BytesIO()
    render_sheet(tiles_yx, labels, columns, cell_px).save(buffer, "PNG")
    write_bytes(path, buffer.getvalue())


def _to_latin1(label: str) -> str:
    """Return the label with `?` in place of each character that Pillow's default font lacks."""
    return label.encode("latin-1", "replace").decode("latin-1")
