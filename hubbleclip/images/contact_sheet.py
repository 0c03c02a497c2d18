"""For people to look at: contact sheets of many tiles, each under a small label, and numbers that judge a tile."""

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
INK, PAPER = 230, 40


@dataclass(frozen=True, slots=True)
class Quality:
    """How a tile uses its levels: shares of pixels that are black (0) and white (255), and entropy in bits, 0 to 8."""

    black_share: float
    white_share: float
    entropy_bits: float


def quality_of(levels_yx: NDArray[np.uint8]) -> Quality:
    """Numbers for judging a stretch: few black and white pixels, and many levels in use."""
    shares = np.bincount(levels_yx.ravel(), minlength=256) / levels_yx.size
    used = shares[shares > 0]
    return Quality(float(shares[0]), float(shares[255]), float(-(used * np.log2(used)).sum()))


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
