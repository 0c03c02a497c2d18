"""Make the diagnostics on the report page: occlusion maps, worst-ranked tiles, and a map of the feature space."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from hubbleclip.dataset.reader import SplitTiles
from hubbleclip.evaluation.maps import cover_squares, principal_axes, similarity_drops
from hubbleclip.evaluation.metrics.retrieval import Floats, expected_rank, rank_best_positives
from hubbleclip.evaluation.metrics.zeroshot import category_terms
from hubbleclip.evaluation.report.tile_cards import jpeg_uri
from hubbleclip.evaluation.test_set import TestSet
from hubbleclip.training.models.builder import LoadedModel

NUM_SQUARES = 8
"""Number of squares along each side of an occlusion map."""
MAX_POINTS = 600
"""Maximum number of tiles on the map of the feature space."""
NUM_COLOURS = 9
"""Number of categories that have their own colour; all other categories share one colour."""
PLOT_SIZE_PX = (900, 520)
"""Largest width and height of the map of the feature space, in pixels."""
MARGIN_PX = 12
"""Empty margin of the map of the feature space, in pixels."""


def occlusion_map(loaded: LoadedModel, tiles: SplitTiles, index: int, caption_d: Floats) -> Floats:
    """Compute how much the similarity of a tile and a caption falls when each square of the tile is covered."""
    images_nyx = cover_squares(tiles.read_tiles([index], loaded.image_size)[0], NUM_SQUARES)
    features_nd = loaded.encode_images(torch.from_numpy(images_nyx)[:, None]).double().numpy()
    return similarity_drops(features_nd @ caption_d)


def occlusion_uri(levels_yx: npt.NDArray[np.uint8], fall_yx: Floats) -> str:
    """Colour a tile by its occlusion map: red where covering lowers the similarity, blue where covering raises it."""
    strength_yx = fall_yx / max(np.abs(fall_yx).max(), 1e-9)
    # The map has only 8 x 8 values, so it is interpolated to the size of the tile.
    small = Image.fromarray(strength_yx.astype(np.float32))
    height, width = levels_yx.shape
    strength_yx = np.asarray(small.resize((width, height), Image.Resampling.BILINEAR))
    grey_yx1 = levels_yx.astype(np.float64)[..., None]
    alpha_yx1 = 0.6 * np.abs(strength_yx)[..., None]  # at most 0.6, so that the tile stays visible
    colour_yxc = np.where(strength_yx[..., None] > 0, (255.0, 60.0, 40.0), (50.0, 110.0, 255.0))
    return jpeg_uri(Image.fromarray(np.rint(grey_yx1 * (1 - alpha_yx1) + colour_yxc * alpha_yx1).astype(np.uint8)))


def own_ranks(test_set: TestSet, scores_tc: Floats) -> Floats:
    """Rank each tile's own caption among all captions."""
    own_tc = test_set.caption_t[:, None] == np.arange(len(test_set.captions_c))
    return expected_rank(rank_best_positives(scores_tc, own_tc))


def worst_ranked_tiles(test_set: TestSet, scores_tc: Floats, count: int) -> list[tuple[int, int, float]]:
    """Find the tiles whose own captions rank worst, one per group: (tile, top-ranked caption, rank of own caption)."""
    rank_t = own_ranks(test_set, scores_tc)
    worst: dict[int, int] = {}
    for tile in np.argsort(-rank_t, kind="stable"):
        # The worst ranks come first, so the first tile of each group is kept.
        worst.setdefault(int(test_set.group_t[tile]), int(tile))
    return [(tile, int(scores_tc[tile].argmax()), float(rank_t[tile])) for tile in list(worst.values())[:count]]


def plotted_tiles(num_tiles: int) -> list[int]:
    """Choose the tiles on the map of the feature space: all tiles, or every n-th tile if there are too many.

    At most `MAX_POINTS` tiles are chosen.
    """
    step = max(1, -(-num_tiles // MAX_POINTS))  # division rounded up
    return list(range(0, num_tiles, step))


def feature_map(test_set: TestSet, feat_td: Floats, pictures: Mapping[str, str]) -> dict[str, object]:
    """Lay out the map of the feature space: one point per tile, coloured by science category."""
    tiles = plotted_tiles(len(test_set.samples))
    mean_d, axes_2d, shares_k = principal_axes(feat_td)
    coordinates_nk = (feat_td - mean_d) @ axes_2d.T
    low_k, high_k = coordinates_nk.min(axis=0), coordinates_nk.max(axis=0)
    inner_k = np.array(PLOT_SIZE_PX) - 2 * MARGIN_PX
    # Both axes have the same scale, so that distances on the map are distances in the plane of the components.
    pixel_nk = (coordinates_nk - low_k) * (inner_k / np.maximum(high_k - low_k, 1e-12)).min()
    width, height = (np.ceil(pixel_nk.max(axis=0)) + 2 * MARGIN_PX).astype(int).tolist()
    categories = [(category_terms(sample) or ["unknown"])[0] for sample in test_set.samples]
    counts = Counter(sorted(categories[tile] for tile in tiles))  # equally common categories are in alphabetical order
    legend = [category for category, _ in counts.most_common(NUM_COLOURS)]
    points = [
        {
            "x": round(float(MARGIN_PX + pixel_nk[tile, 0]), 1),
            "y": round(float(height - MARGIN_PX - pixel_nk[tile, 1]), 1),  # the y axis of SVG points down
            "colour": legend.index(categories[tile]) if categories[tile] in legend else len(legend),
            "text": f"{test_set.samples[tile].target_name or ''}, {categories[tile]}",
            "picture": pictures[test_set.samples[tile].tile_id],
        }
        for tile in tiles
    ]
    return {
        "points": points,
        "legend": [*legend, "other"],
        "width": width,
        "height": height,
        "shares": [f"{100 * share:.0f} %" for share in shares_k],
    }
