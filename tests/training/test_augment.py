import numpy as np
import torch

from hubbleclip.dataset.sampler import draw_views
from hubbleclip.training.augment import render_views

WHOLE = torch.tensor([[[1.0, 0, 0], [0, 1.0, 0]]])
TURNS = {
    "turned": (torch.tensor([[[0.0, -1, 0], [1.0, 0, 0]]]), lambda t: torch.rot90(t, 1, (2, 3))),
    "mirrored": (torch.tensor([[[-1.0, 0, 0], [0, 1.0, 0]]]), lambda t: t.flip(3)),
}


def tiles(num: int = 1, size: int = 32) -> torch.Tensor:
    return torch.randint(0, 256, (num, 1, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def test_whole_view_is_the_area_average() -> None:
    tile = tiles()
    expected = tile.float().view(1, 1, 16, 2, 16, 2).mean((3, 5)) / 255
    assert torch.allclose(render_views(tile, WHOLE, torch.ones(1), 16), expected, atol=1e-4)


def test_quarter_turn_and_mirror_move_pixels_exactly() -> None:
    tile = tiles()
    for theta, expected in TURNS.values():
        assert torch.allclose(render_views(tile, theta, torch.ones(1), 32), expected(tile) / 255, atol=1e-4)


def test_gain_brightens_and_is_clipped() -> None:
    bright = render_views(tiles(), WHOLE, torch.tensor([3.0]), 32)
    assert torch.allclose(bright, torch.clamp(tiles() / 255 * 3, max=1), atol=1e-4)


def test_each_image_of_a_batch_has_a_view_of_its_own() -> None:
    theta = torch.from_numpy(draw_views(np.random.default_rng(0), 8, 0.3))
    views = render_views(tiles().expand(8, -1, -1, -1), theta, torch.ones(8), 16)
    assert len({view.numpy().tobytes() for view in views}) == 8
