"""Occlusion maps, worst-ranked tiles, the map of the feature space, and the images of the forgetting test."""

import numpy as np
import pytest
import torch
from small_dataset import MODEL, build

from hubbleclip.core.vectors import unit
from hubbleclip.dataset.build import read_dataset
from hubbleclip.dataset.reader import open_split
from hubbleclip.evaluation.maps import principal_axes
from hubbleclip.evaluation.report import diagnostics
from hubbleclip.training.embeddings import embed_texts
from hubbleclip.training.models.builder import load_model


def test_an_occlusion_map_is_the_fall_of_the_similarity_per_patch(tmp_path) -> None:
    tiles = open_split(read_dataset(build(tmp_path, num_groups=6, tiles_per_group=1, num_test_groups=2)), "test")
    loaded = load_model(MODEL, 1)
    (text_d,) = embed_texts(loaded, ["a comet"], 8)
    fall_yx = diagnostics.occlusion_map(loaded, tiles, 0, text_d)
    whole = tiles.read_tiles([0], loaded.image_size)[:, None]
    covered = whole.copy()
    covered[..., 12:24, 84:96] = np.sort(whole.ravel())[(whole.size - 1) // 2]  # torch's median: the lower middle
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


def test_a_large_test_split_is_shown_in_part() -> None:
    assert diagnostics.plotted_tiles(600) == list(range(600))
    assert diagnostics.plotted_tiles(1201) == list(range(0, 1201, 3))
