"""The map of the feature space, and the colours of an occlusion map."""

from base64 import b64decode
from io import BytesIO

import numpy as np
import pytest
from evaluation_samples import sample
from PIL import Image
from small_dataset import make_png

from hubbleclip.evaluation.maps import principal_axes
from hubbleclip.evaluation.report import diagnostics
from hubbleclip.evaluation.report.tile_cards import make_thumbnail, thumbnail_levels
from hubbleclip.evaluation.test_set import make_test_set

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


def test_squares_that_the_similarity_needs_are_red_and_those_that_harm_it_blue() -> None:
    fall_yx = np.repeat([[2.0, 0.0, 0.0, -1.0]], 4, axis=0)
    with Image.open(
        BytesIO(b64decode(diagnostics.occlusion_uri(np.full((64, 64), 100, np.uint8), fall_yx)[23:]))
    ) as image:
        left, middle, right = (np.array(image)[32, x].astype(int) for x in (2, 36, 61))
    assert left == pytest.approx([193, 76, 64], abs=9)  # 0.6 of red over grey
    assert middle == pytest.approx([100, 100, 100], abs=9)
    assert right == pytest.approx([85, 103, 147], abs=9)  # half as strong


def test_a_thumbnail_is_small_and_knows_the_side_of_its_tile() -> None:
    thumbnail = make_thumbnail(make_png(0, 0), 32)
    assert (thumbnail_levels(thumbnail.uri).shape, thumbnail.size_px) == ((32, 32), 96)
