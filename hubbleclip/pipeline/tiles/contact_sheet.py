"""Contact sheets, which show many labelled tiles for inspection by eye."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw

LABEL_PX = 14
GAP_PX = 4
LABEL_CHARACTER_PX = 6
"""Width of a character in Pillow's default font, in pixels."""
INK, PAPER = 230, 40
"""Grey levels of the labels and of the background."""


def render_sheet(
    tiles: Sequence[Image.Image], labels: Sequence[str], columns: int = 4, cell_px: int = 256
) -> Image.Image:
    """Draw tiles in a grid, each under its label."""
    rows = max(1, -(-len(tiles) // columns))  # the number of rows is rounded up
    pitch_x, pitch_y = cell_px + GAP_PX, cell_px + LABEL_PX + GAP_PX
    sheet = Image.new("L", (columns * pitch_x + GAP_PX, rows * pitch_y + GAP_PX), PAPER)
    draw = ImageDraw.Draw(sheet)
    for index, (tile, label) in enumerate(zip(tiles, labels, strict=True)):
        x, y = GAP_PX + index % columns * pitch_x, GAP_PX + index // columns * pitch_y
        sheet.paste(tile.resize((cell_px, cell_px), Image.Resampling.BOX), (x, y + LABEL_PX))
        shown = label.encode("latin-1", "replace").decode("latin-1")  # Pillow's default font has only Latin-1
        draw.text((x, y), shown[: cell_px // LABEL_CHARACTER_PX], fill=INK)
    return sheet
