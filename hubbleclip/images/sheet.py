"""Contact sheets: many tiles on one picture, each under a small label, for people to look at."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from hubbleclip.files import write_bytes

LABEL_PX = 14
GAP_PX = 4
LABEL_CHARACTER_PX = 6
INK, PAPER = 230, 40


def render_sheet(
    tiles_yx: Sequence[NDArray[np.uint8]], labels: Sequence[str], columns: int = 4, cell_px: int = 256
) -> Image.Image:
    """A grey picture of `tiles_yx` (uint8 levels, any sizes) in rows of `columns`."""
    rows = max(1, -(-len(tiles_yx) // columns))
    pitch_x, pitch_y = cell_px + GAP_PX, cell_px + LABEL_PX + GAP_PX
    sheet = Image.new("L", (columns * pitch_x + GAP_PX, rows * pitch_y + GAP_PX), PAPER)
    draw = ImageDraw.Draw(sheet)
    for index, (levels_yx, label) in enumerate(zip(tiles_yx, labels, strict=True)):
        x, y = GAP_PX + index % columns * pitch_x, GAP_PX + index // columns * pitch_y
        picture = Image.fromarray(np.ascontiguousarray(levels_yx))
        sheet.paste(picture.resize((cell_px, cell_px), Image.Resampling.BOX), (x, y + LABEL_PX))
        draw.text((x, y), _plain(label)[: cell_px // LABEL_CHARACTER_PX], fill=INK)
    return sheet


def write_sheet(
    tiles_yx: Sequence[NDArray[np.uint8]], labels: Sequence[str], path: Path, columns: int = 4, cell_px: int = 256
) -> None:
    """Write `render_sheet` as PNG, atomically."""
    buffer = io.BytesIO()
    render_sheet(tiles_yx, labels, columns, cell_px).save(buffer, "PNG")
    write_bytes(path, buffer.getvalue())


def _plain(label: str) -> str:
    return label.encode("latin-1", "replace").decode("latin-1")
