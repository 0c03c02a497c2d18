import torch

from hubbleclip.training.trainer import render_views

WHOLE = torch.tensor([[[1.0, 0, 0], [0, 1.0, 0]]])
TURNED, MIRRORED = torch.tensor([[[0.0, -1, 0], [1.0, 0, 0]], [[-1.0, 0, 0], [0, 1.0, 0]]])


def tiles(num: int = 1, size: int = 32) -> torch.Tensor:
    return torch.randint(0, 256, (num, 1, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def test_whole_view_is_the_area_average() -> None:
    tile = tiles()
    expected = tile.float().view(1, 1, 16, 2, 16, 2).mean((3, 5)) / 255
    assert torch.allclose(render_views(tile, WHOLE, torch.ones(1), 16), expected, atol=1e-4)


def test_each_tile_of_a_batch_is_turned_or_mirrored_by_its_own_map() -> None:
    pair = tiles(2)
    views = render_views(pair, torch.stack([TURNED, MIRRORED]), torch.ones(2), 32)
    assert torch.allclose(views, torch.stack([torch.rot90(pair[0], 1, (1, 2)), pair[1].flip(2)]) / 255, atol=1e-4)


def test_each_view_has_the_gain_of_its_own_tile() -> None:
    pair, gains = tiles(2, 16), torch.tensor([0.25, 3.0])
    views = render_views(pair, WHOLE.expand(2, -1, -1), gains, 16)
    assert torch.allclose(views, torch.clamp(pair / 255 * gains.view(2, 1, 1, 1), max=1), atol=1e-4)


def test_an_enlarged_view_continues_the_edge_of_its_tile() -> None:
    """The centres of the outermost pixels of an enlarged view are outside those of the tile, where values are extrapolated."""
    even = torch.full((1, 1, 16, 16), 200, dtype=torch.uint8)
    assert torch.allclose(render_views(even, WHOLE, torch.ones(1), 48), torch.full((1, 1, 48, 48), 200 / 255))
