"""Where a model looks, where it fails, and how its tiles lie to each other: what the page shows beside the figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from hubbleclip.dataset.loader import SplitTiles
from hubbleclip.evaluation.metrics.retrieval import Floats, expected_rank, positive_pairs, rank_positives
from hubbleclip.evaluation.metrics.zeroshot import category_of
from hubbleclip.evaluation.report.thumbnails import jpeg_uri
from hubbleclip.evaluation.test_set import TestSet
from hubbleclip.training.models.builder import LoadedModel

PATCHES = 8
"""Patches along a side of an occlusion map."""
NUM_POINTS = 600
NUM_COLOURS = 9
PLOT = (900, 520)
MARGIN = 12


def occlusion_map(loaded: LoadedModel, tiles: SplitTiles, index: int, caption_d: Floats) -> Floats:
    """How much the similarity of a tile and a caption falls when a patch is covered by the tile's median level, (y, x)
    (Zeiler & Fergus 2014, arXiv 1311.2901, section 4.2).
    """
    levels_yx = torch.from_numpy(tiles.read_one_tile(index, loaded.image_size))
    edges = np.linspace(0, loaded.image_size, PATCHES + 1).round().astype(int)
    covered = levels_yx.repeat(1 + PATCHES**2, 1, 1, 1).transpose(0, 1).reshape(-1, 1, *levels_yx.shape)
    for number in range(PATCHES**2):
        y, x = divmod(number, PATCHES)
        covered[1 + number, 0, edges[y] : edges[y + 1], edges[x] : edges[x + 1]] = levels_yx.median()
    scores_n = loaded.encode_images(covered).double().numpy() @ caption_d
    fall_yx: Floats = (scores_n[0] - scores_n[1:]).reshape(PATCHES, PATCHES)
    return fall_yx


def occlusion_uri(levels_yx: npt.NDArray[np.uint8], fall_yx: Floats) -> str:
    """The tile with the patches that it needs in red, the more the stronger; those that speak against it in blue."""
    strength_yx = fall_yx / max(np.abs(fall_yx).max(), 1e-9)
    small = Image.fromarray(strength_yx.astype(np.float32))
    height, width = levels_yx.shape
    strength_yx = np.asarray(small.resize((width, height), Image.Resampling.BILINEAR))
    grey_yx1 = levels_yx.astype(np.float64)[..., None]
    alpha_yx1 = 0.6 * np.abs(strength_yx)[..., None]
    colour_yxc = np.where(strength_yx[..., None] > 0, (255.0, 60.0, 40.0), (50.0, 110.0, 255.0))
    return jpeg_uri(Image.fromarray(np.rint(grey_yx1 * (1 - alpha_yx1) + colour_yxc * alpha_yx1).astype(np.uint8)))


def failures(test_set: TestSet, scores_tc: Floats, count: int) -> list[tuple[int, int, float]]:
    """The tile of each of `count` groups whose own caption ranks worst: tile, the caption ranked first, the rank."""
    own_tc = positive_pairs(test_set.caption_t, np.arange(len(test_set.captions_c)))
    rank_t = expected_rank(rank_positives(scores_tc, own_tc))
    worst: dict[int, int] = {}
    for tile in np.argsort(-rank_t, kind="stable"):
        worst.setdefault(int(test_set.group_t[tile]), int(tile))
    return [(tile, int(scores_tc[tile].argmax()), float(rank_t[tile])) for tile in list(worst.values())[:count]]


def principal_axes(feat_nd: Floats) -> tuple[Floats, Floats]:
    """The first two principal components (n, 2) and their shares of the variance; signs are fixed by the largest
    loading.
    """
    _, spread_k, axes_kd = np.linalg.svd(feat_nd - feat_nd.mean(axis=0), full_matrices=False)
    signs_k = np.sign(axes_kd[np.arange(2), np.abs(axes_kd[:2]).argmax(axis=1)])
    places_nk: Floats = (feat_nd - feat_nd.mean(axis=0)) @ (axes_kd[:2] * signs_k[:, None]).T
    return places_nk, spread_k[:2] ** 2 / max(np.sum(spread_k**2), 1e-12)


def shown_points(num_tiles: int) -> list[int]:
    """Tiles of the map: all, or every so many of them."""
    return list(range(0, num_tiles, max(1, -(-num_tiles // NUM_POINTS))))


def feature_map(test_set: TestSet, feat_td: Floats, pictures: Mapping[str, str]) -> dict[str, object]:
    """Points of the map for the page, in pixels, and the legend: the commonest categories, the rest as `other`."""
    tiles = shown_points(len(test_set.samples))
    places_nk, shares_k = principal_axes(feat_td)
    low_k, high_k = places_nk.min(axis=0), places_nk.max(axis=0)
    unit_nk = (places_nk - low_k) / np.maximum(high_k - low_k, 1e-12)
    size_k = np.array(PLOT) - 2 * MARGIN
    names = [(category_of(sample) or ["unknown"])[0] for sample in test_set.samples]
    legend = _legend([names[tile] for tile in tiles])
    points = [
        {
            "x": round(float(MARGIN + unit_nk[tile, 0] * size_k[0]), 1),
            "y": round(float(MARGIN + (1 - unit_nk[tile, 1]) * size_k[1]), 1),
            "colour": legend.index(names[tile]) if names[tile] in legend else len(legend),
            "text": f"{test_set.samples[tile].target_name or ''}, {names[tile]}",
            "picture": pictures[test_set.samples[tile].tile_id],
        }
        for tile in tiles
    ]
    return {
        "points": points, "legend": [*legend, "other"], "width": PLOT[0], "height": PLOT[1],
        "shares": [f"{100 * share:.0f} %" for share in shares_k],
    }  # fmt: skip


def _legend(names: Sequence[str]) -> list[str]:
    counted = {name: names.count(name) for name in names}
    return sorted(counted, key=lambda name: (-counted[name], name))[:NUM_COLOURS]
