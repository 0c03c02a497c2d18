import numpy as np
import torch

from hubbleclip.dataset.sampler import draw_views
from hubbleclip.training.trainer import render_views

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


def test_each_view_has_the_gain_of_its_own_tile() -> None:
    pair, gains = tiles(2, 16), torch.tensor([0.25, 0.5])
    views = render_views(pair, WHOLE.expand(2, -1, -1), gains, 16)
    assert torch.allclose(views, pair / 255 * gains.view(2, 1, 1, 1), atol=1e-4)


def test_an_enlarged_view_continues_the_edge_of_its_tile() -> None:
    """The centres of the outermost pixels of an enlarged view are outside those of the tile, where values are extrapolated."""
    even = torch.full((1, 1, 16, 16), 200, dtype=torch.uint8)
    assert torch.allclose(render_views(even, WHOLE, torch.ones(1), 48), torch.full((1, 1, 48, 48), 200 / 255))
