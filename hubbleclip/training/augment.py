"""Render augmented views of a batch of tiles on the device. Each view has its own crop, rotation, mirror and gain."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def render_views(tiles_b1ss: Tensor, theta_b23: Tensor, gain_b: Tensor, size_px: int) -> Tensor:
    """Resample tiles through affine maps and scale their brightness."""
    levels = tiles_b1ss.float() / 255
    # align_corners=False puts -1 and 1 at the outer pixel edges, so that a change of scale does not shift the image
    grid = F.affine_grid(theta_b23, [len(levels), 1, size_px, size_px], align_corners=False)
    views = F.grid_sample(levels, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return torch.clamp(views * gain_b.view(-1, 1, 1, 1), 0, 1)
