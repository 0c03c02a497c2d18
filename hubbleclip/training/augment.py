"""Views of tiles on the device: one crop, turn, mirroring and gain an image, for the whole batch at once."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def cut_views(tiles_b1ss: Tensor, theta_b23: Tensor, gain_b: Tensor, size_px: int) -> Tensor:
    """Levels in [0, 1], shape (b, 1, size_px, size_px), of uint8 tiles seen through affine maps.

    A map takes output to input coordinates, both in [-1, 1] over the outer pixel edges. Tiles are at most twice
    `size_px` wide, so that bilinear sampling skips no pixel.
    """
    levels = tiles_b1ss.float() / 255
    grid = F.affine_grid(theta_b23, [len(levels), 1, size_px, size_px], align_corners=False)
    views = F.grid_sample(levels, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return torch.clamp(views * gain_b.view(-1, 1, 1, 1), 0, 1)
