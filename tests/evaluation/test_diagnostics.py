"""Occlusion maps, worst-ranked tiles, the map of the feature space, and the images of the forgetting test."""

from base64 import b64decode
from io import BytesIO

import numpy as np
import pytest
import torch
from evaluation_samples import sample
from PIL import Image
from small_dataset import SMALL_MODEL, build, make_png

from hubbleclip.core.vectors import unit
from hubbleclip.dataset.build import read_dataset
from hubbleclip.dataset.reader import open_split
from hubbleclip.evaluation.maps import principal_axes
from hubbleclip.evaluation.report import diagnostics
from hubbleclip.evaluation.report.tile_cards import make_thumbnail, thumbnail_levels
from hubbleclip.evaluation.test_set import make_test_set
from hubbleclip.training.embeddings import embed_texts
from hubbleclip.training.models.builder import load_model


def test_an_occlusion_map_is_the_fall_of_the_similarity_per_patch(tmp_path) -> None:
    tiles = open_split(read_dataset(build(tmp_path, num_groups=6, tiles_per_group=1, num_test_groups=2)), "test")
    loaded = load_model(SMALL_MODEL, 1)
    (text_d,) = embed_texts(loaded, ["a comet"], 8)
    fall_yx = diagnostics.occlusion_map(loaded, tiles, 1, text_d)
    whole = tiles.read_tiles([1], loaded.image_size)[:, None]
    covered = whole.copy()
    covered[..., 4:8, 28:32] = np.sort(whole.ravel())[(whole.size - 1) // 2]  # torch's median: the lower middle
    before, after = (loaded.encode_images(torch.from_numpy(one)).numpy()[0] @ text_d for one in (whole, covered))
    assert fall_yx.shape == (diagnostics.NUM_SQUARES, diagnostics.NUM_SQUARES)
    assert fall_yx[1, 7] == pytest.approx(before - after, abs=1e-5)


def test_principal_axes_follow_the_largest_variance_and_keep_their_sign() -> None:
    feat_nd = unit(np.random.default_rng(1).normal(size=(50, 6)) * [5, 2, 1, 1, 1, 1])
    mean_d, axes_2d, shares_k = principal_axes(feat_nd)
    centred = feat_nd - mean_d
    values = np.linalg.eigvalsh(centred.T @ centred)[::-1]
    np.testing.assert_allclose(shares_k, values[:2] / values.sum())
    np.testing.assert_allclose(((centred @ axes_2d.T) ** 2).sum(axis=0), values[:2])
    np.testing.assert_allclose(principal_axes(feat_nd[::-1])[1], axes_2d, atol=1e-12)


CATEGORIES = ["Stars"] * 5 + ["Galaxies"] * 3 + ["Comets"] * 3 + [None] + [f"Rare {letter}" for letter in "hgfedcba"]


@pytest.fixture(scope="module")
def mapped():
    samples = [
        sample(tile, tile, category=category, target_name=None if tile == 4 else f"T{tile}")
        for tile, category in enumerate(CATEGORIES)
    ]
    test_set = make_test_set(samples)
    feat_td = np.random.default_rng(2).normal(size=(len(samples), 4)) * [8.0, 2.0, 0.5, 0.1]
    pictures = {one.tile_id: f"uri {one.target_name}" for one in test_set.samples}
    return test_set, feat_td, diagnostics.feature_map(test_set, feat_td, pictures)


def test_points_lie_as_the_first_two_components_in_one_scale_with_y_upwards(mapped) -> None:
    _, feat_td, variables = mapped
    xy_n2 = np.array([[one["x"], one["y"]] for one in variables["points"]])
    mean_d, axes_2d, shares = principal_axes(feat_td)
    coordinates_n2 = (feat_td - mean_d) @ axes_2d.T
    centred_n2 = coordinates_n2 - coordinates_n2.min(axis=0)
    scale = 876 / centred_n2[:, 0].max()  # 900 px less two margins of 12 px; the first component is the widest
    assert scale * centred_n2[:, 1].max() < 496
    np.testing.assert_allclose(xy_n2[:, 0], 12 + scale * centred_n2[:, 0], atol=0.06)
    np.testing.assert_allclose(variables["height"] - 12 - xy_n2[:, 1], scale * centred_n2[:, 1], atol=0.06)
    assert variables["width"] == 900
    assert xy_n2[:, 1].min() == pytest.approx(12, abs=1.1)
    assert variables["shares"] == [f"{100 * share:.0f} %" for share in shares]
    assert shares[0] > 0.8


def test_the_nine_most_common_categories_have_colours_and_all_others_the_last(mapped) -> None:
    test_set, _, variables = mapped
    expected = ["stars", "comets", "galaxies", "rare a", "rare b", "rare c", "rare d", "rare e", "rare f", "other"]
    assert variables["legend"] == expected
    for one, point in zip(test_set.samples, variables["points"], strict=True):
        category = (one.category or "unknown").lower()
        assert point["colour"] == (expected.index(category) if category in expected else 9)
        assert point["text"] == f"{one.target_name or ''}, {category}"
        assert point["picture"] == f"uri {one.target_name}"


@pytest.mark.parametrize(
    ("sign", "strong", "weak"),
    [(1, [193, 76, 64], [85, 103, 147]), (-1, [70, 106, 193], [147, 88, 82])],
    ids=["mostly needed", "mostly harmful"],
)
def test_squares_that_the_similarity_needs_are_red_and_those_that_harm_it_blue(sign, strong, weak) -> None:
    fall_yx = sign * np.repeat([[2.0, 0.0, 0.0, -1.0]], 4, axis=0)
    with Image.open(
        BytesIO(b64decode(diagnostics.occlusion_uri(np.full((64, 64), 100, np.uint8), fall_yx)[23:]))
    ) as image:
        left, middle, right = (np.array(image)[32, x].astype(int) for x in (2, 36, 61))
    assert left == pytest.approx(strong, abs=9)  # 0.6 of red or blue over grey
    assert middle == pytest.approx([100, 100, 100], abs=9)
    assert right == pytest.approx(weak, abs=9)  # half as strong


def test_a_thumbnail_is_small_and_knows_the_side_of_its_tile() -> None:
    thumbnail = make_thumbnail(make_png(0, 0), 32)
    assert (thumbnail_levels(thumbnail.uri).shape, thumbnail.size_px) == ((32, 32), 96)
