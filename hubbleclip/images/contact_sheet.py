"""Contact sheets for inspection by eye, many tiles each under a small label, and statistics that judge a stretch."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from hubbleclip.core.io import write_bytes

LABEL_PX = 14
GAP_PX = 4
LABEL_CHARACTER_PX = 6
"""Width of a character in Pillow's default font."""
INK, PAPER = 230, 40
"""Grey levels of the labels and of the background."""


@dataclass(frozen=True, slots=True)
class LevelStatistics:
    """How a tile uses its levels: shares of pixels that are black (0) and white (255), and entropy in bits, 0 to 8."""

    black_share: float
    white_share: float
    entropy_bits: float


def level_statistics(levels_yx: NDArray[np.uint8]) -> LevelStatistics:
    """Compute the statistics that judge a stretch: a good one has few black and white pixels and uses many levels.

    Parameters
    ----------
    levels_yx : uint8 (h, w)

    Returns
    -------
    statistics : LevelStatistics
    """
    shares = np.bincount(levels_yx.ravel(), minlength=256) / levels_yx.size
    used = shares[shares > 0]  # 0 * log2(0) counts as 0
    return LevelStatistics(float(shares[0]), float(shares[255]), float(-(used * np.log2(used)).sum()))


def render_sheet(
    tiles_yx: Sequence[NDArray[np.uint8]], labels: Sequence[str], columns: int = 4, cell_px: int = 256
) -> Image.Image:
    """Draw tiles in a grid, each under its label.

    Parameters
    ----------
    tiles_yx : sequence of uint8 (h, w)
        Grey levels, of any sizes.
    labels : sequence of str
        One per tile; cut to the width of a cell.
    columns : int
        Tiles per row.
    cell_px : int
        Side to which each tile is resized.

    Returns
    -------
    sheet : Image
        Grey (mode L).
    """
    rows = max(1, -(-len(tiles_yx) // columns))  # rounded up
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
    """Write a contact sheet as PNG, atomically.

    Parameters
    ----------
    tiles_yx, labels, columns, cell_px
        As for `render_sheet`.
    path : Path
        File to write.
    """
    buffer = io.BytesIO()
    render_sheet(tiles_yx, labels, columns, cell_px).save(buffer, "PNG")
    write_bytes(path, buffer.getvalue())


def _to_latin1(label: str) -> str:
    """The label with `?` for each character that Pillow's default font lacks."""
    return label.encode("latin-1", "replace").decode("latin-1")
