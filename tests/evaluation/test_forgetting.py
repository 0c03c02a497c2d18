"""Zero-shot accuracy on digits and photographs: the images, and a model that knows some of them."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data
from sklearn.datasets import load_digits, load_sample_image

from hubbleclip.config.settings import EvaluationSettings
from hubbleclip.evaluation import forgetting
from hubbleclip.evaluation.metrics.bootstrap import draw_weights

SIZE = 16


def test_a_photograph_is_seen_whole_and_by_its_four_corners_of_two_thirds() -> None:
    images = forgetting.photographs(SIZE)
    for phrase, pixels in (("a rocket at its launch", data.rocket()), ("a flower", load_sample_image("flower.jpg"))):
        grey = Image.fromarray(pixels).convert("L")
        side = min(grey.size)
        left, top = (grey.width - side) // 2, (grey.height - side) // 2
        crop = round(2 * side / 3)
        starts = [(0, 0), (side - crop, 0), (0, side - crop), (side - crop, side - crop)]
        boxes = [(left, top, left + side, top + side)]
        boxes += [(left + x, top + y, left + x + crop, top + y + crop) for x, y in starts]
        number = images.phrases.index(phrase)
        for view, box in enumerate(boxes):
            expected = np.asarray(grey.crop(box).resize((SIZE, SIZE), Image.Resampling.BOX)).astype(int)
            assert np.abs(images.levels[5 * number + view, 0].numpy() - expected).max() <= 1, (phrase, view)


def test_digits_are_the_first_500_at_full_contrast() -> None:
    images, found = forgetting.digits(8), load_digits()
    assert images.class_t.tolist() == found.target[:500].tolist()
    assert images.group_t.tolist() == list(range(500))  # each is drawn by itself
    assert np.array_equal(images.levels[:, 0].numpy(), np.rint(found.images[:500] * 255 / 16))


def knowing_model(num_known: int) -> SimpleNamespace:
    """A model of one-hot features that takes the classes from `num_known` on for the first class of the same set."""
    sets, place = (forgetting.digits(SIZE), forgetting.photographs(SIZE)), {}
    prompts: dict[str, int] = {}
    for images in sets:
        first = len(prompts)
        template = {"digits_top1": 'a photo of the number: "{}".', "photographs_top1": "a photo of {}."}[images.name]
        prompts |= {template.format(phrase): first + number for number, phrase in enumerate(images.phrases)}
        for level, own in zip(images.levels, images.class_t, strict=True):
            place[level.numpy().tobytes()] = first + (int(own) if own < num_known else 0)
    axes = torch.eye(len(prompts))
    return SimpleNamespace(
        image_size=SIZE,
        encode_images=lambda levels: axes[[place[level.numpy().tobytes()] for level in levels]],
        encode_texts=lambda texts: axes[[prompts[text] for text in texts]],
    )


def test_the_accuracy_is_the_share_of_images_whose_own_prompt_is_nearest() -> None:
    num_known, settings = 7, EvaluationSettings(bootstrap=100, batch_size=64)
    found = forgetting.forgetting_estimates({"base": knowing_model(num_known)}, settings)
    values = {one.name: one.value for one in found}
    digits = load_digits().target[:500]
    assert values == {
        "photographs_top1": pytest.approx(num_known / 18),
        "digits_top1": pytest.approx(np.mean(digits < num_known)),
    }
    by_name = {one.name: one for one in found}
    # of a photograph, all five images are drawn at once
    assert all(round(18 * draw, 6) == round(18 * draw) for draw in by_name["photographs_top1"].draws_b)
    assert {(one.protocol, one.scorer) for one in found} == {("forgetting", "base")}
    assert {one.name: len(one.sizes_g) for one in found} == {"photographs_top1": 18, "digits_top1": 500}
    weights_bg = draw_weights(18, 100)
    np.testing.assert_allclose(by_name["photographs_top1"].draws_b, weights_bg[:, :num_known].sum(axis=1) / 18)


def test_without_the_packages_of_the_pictures_one_line_says_what_to_install(monkeypatch, caplog) -> None:
    monkeypatch.setattr(forgetting, "find_spec", lambda name: None)
    assert forgetting.forgetting_estimates({"base": knowing_model(1)}, EvaluationSettings()) == []
    assert "pip install 'hubbleclip[forgetting]'" in caplog.text
