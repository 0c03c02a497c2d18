"""The map of the feature space, and the colours of an occlusion map."""

import base64
import io
from dataclasses import replace

import numpy as np
import pytest
from evaluation_samples import sample
from PIL import Image

from hubbleclip.evaluation.maps import principal_axes
from hubbleclip.evaluation.report import diagnostics
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


def colours_of(uri: str) -> np.ndarray:
    image = Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))
    return np.asarray(image.convert("RGB")).astype(int)


def test_patches_that_the_similarity_needs_are_red_and_those_that_harm_it_blue() -> None:
    fall_yx = np.zeros((4, 4))
    fall_yx[0, 3], fall_yx[3, 1] = 0.2, -0.1
    rgb_yxc = colours_of(diagnostics.occlusion_uri(np.full((160, 160), 100, dtype=np.uint8), fall_yx))
    top_right, bottom, neutral = rgb_yxc[5:15, 145:155], rgb_yxc[145:155, 55:65], rgb_yxc[60:75, 10:20]
    assert top_right.mean((0, 1)) == pytest.approx(
        [0.4 * 100 + 0.6 * 255, 0.4 * 100 + 0.6 * 60, 0.4 * 100 + 0.6 * 40], abs=14
    )
    red, _, blue = bottom.mean((0, 1))
    assert 40 < blue - 100 < 70 and red < 95  # half the strength of the red patch
    assert neutral.mean((0, 1)) == pytest.approx([100, 100, 100], abs=4)


def test_a_map_in_part_has_the_axes_of_all_tiles_and_the_colours_of_those_shown(monkeypatch) -> None:
    categories = ["Stars", "Comets", "Galaxies", "Comets", "Stars", "Comets"]
    rows = sorted((sample(tile, tile) for tile in range(6)), key=lambda one: one.tile_id)
    rows = [replace(one, category=category) for one, category in zip(rows, categories, strict=True)]
    test_set, feat_td = make_test_set(rows), np.random.default_rng(3).normal(size=(6, 3))
    pictures = {one.tile_id: "" for one in test_set.samples}
    whole = diagnostics.feature_map(test_set, feat_td, pictures)
    monkeypatch.setattr(diagnostics, "MAX_POINTS", 3)
    part = diagnostics.feature_map(test_set, feat_td, pictures)
    assert part["legend"] == ["stars", "galaxies", "other"]
    assert [(one["x"], one["y"]) for one in part["points"]] == [(one["x"], one["y"]) for one in whole["points"][::2]]
    assert part["shares"] == whole["shares"]
