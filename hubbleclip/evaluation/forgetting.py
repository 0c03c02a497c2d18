"""Measure what a model forgets by fine-tuning: its zero-shot accuracy on images of other domains.

Both test sets are in packages of the extra `forgetting`, so nothing is downloaded. The photographs of scikit-image and
scikit-learn resemble the training images of models such as CLIP. There are few photographs, so the interval of their
accuracy is wide. There are many handwritten digits in scikit-learn, but each has only 8 x 8 px. The digits are the test
set of UCI's "Optical Recognition of Handwritten Digits". The prompts are from CLIP's repository (arXiv 2103.00020): the
simplest prompt for ImageNet, and the prompt for MNIST.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
import torch
from PIL import Image

from hubbleclip.config.settings import EvaluationSettings
from hubbleclip.evaluation.embed import embed_phrases
from hubbleclip.evaluation.metrics.bootstrap import draw_weights
from hubbleclip.evaluation.metrics.protocols import Estimate, Values, bootstrap_estimates
from hubbleclip.evaluation.metrics.retrieval import Ints, cosine_scores, hit_probability, rank_best_positives
from hubbleclip.training.models.builder import LoadedModel

log = logging.getLogger(__name__)
FORGETTING = "forgetting"
DIGITS, PHOTOGRAPHS = "digits_top1", "photographs_top1"
"""Names of the metrics."""
NUM_DIGITS = 500
"""Number of digit images that are classified."""
MAX_DIGIT_LEVEL = 16
"""Largest pixel value of scikit-learn's digits."""
SKIMAGE = {
    "astronaut": "an astronaut",
    "brick": "a brick wall",
    "camera": "a man with a camera on a tripod",
    "cat": "a cat",
    "cell": "a cell under a microscope",
    "checkerboard": "a checkerboard",
    "clock": "a clock",
    "coffee": "a cup of coffee",
    "coins": "coins",
    "grass": "grass",
    "gravel": "gravel",
    "horse": "the silhouette of a horse",
    "immunohistochemistry": "stained tissue under a microscope",
    "page": "a printed page",
    "retina": "the retina of an eye",
    "rocket": "a rocket at its launch",
}
"""Photographs of scikit-image that need no download, and what each shows. Photographs of the sky are not used."""
SKLEARN = {"china.jpg": "a Chinese temple", "flower.jpg": "a flower"}
"""Photographs of scikit-learn, and what each shows."""
CROP = 2 / 3
"""Side of a crop of a photograph, in units of the side of its central square."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ImageSet:
    """Grey images (t, 1, y, x) of levels 0 to 255, their classes, the phrase of each class, and the prompt templates.

    `group_t` has the group of each image; groups are independent of each other, and the bootstrap resamples them.
    """

    name: str
    levels: torch.Tensor
    class_t: Ints
    group_t: Ints
    phrases: tuple[str, ...]
    prompts: tuple[str, ...]


def forgetting_estimates(models: Mapping[str, LoadedModel], settings: EvaluationSettings) -> list[Estimate]:
    """Estimate each model's zero-shot top-1 accuracy on photographs and digits, if the extra is installed."""
    estimates: list[Estimate] = []
    if not all(map(find_spec, ("skimage", "sklearn"))):
        log.warning("evaluate: forgetting is not measured: it needs `pip install 'hubbleclip[forgetting]'`")
        return estimates
    for name, loaded in models.items():
        for images in (photographs(loaded.image_size), digits(loaded.image_size)):
            parts = [loaded.encode_images(batch) for batch in torch.split(images.levels, settings.batch_size)]
            phrases_kd = embed_phrases(loaded, images.phrases, images.prompts, settings.batch_size)
            scores_tk = cosine_scores(torch.cat(parts).double().numpy(), phrases_kd)
            is_positive_tk = images.class_t[:, None] == np.arange(len(images.phrases))
            is_top_t = hit_probability(rank_best_positives(scores_tk, is_positive_tk), 1)
            values = Values(means={images.name: is_top_t}, group_q=images.group_t)
            weights_bg = draw_weights(images.group_t.max() + 1, settings.bootstrap)
            estimates += bootstrap_estimates(FORGETTING, name, values, weights_bg)
    return estimates


def digits(size: int) -> ImageSet:
    """Read the first `NUM_DIGITS` handwritten digits, resized to a side of `size`."""
    from sklearn.datasets import load_digits  # noqa: PLC0415 - of the extra `forgetting`

    found = load_digits()
    levels = torch.from_numpy(found.images[:NUM_DIGITS] * (255 / MAX_DIGIT_LEVEL)).float()[:, None]  # (t, 1, 8, 8)
    levels = torch.nn.functional.interpolate(levels, (size, size), mode="bilinear").round().to(torch.uint8)
    return ImageSet(
        name=DIGITS,
        levels=levels,
        class_t=found.target[:NUM_DIGITS],
        group_t=np.arange(NUM_DIGITS),
        phrases=tuple(map(str, range(10))),
        prompts=('a photo of the number: "{}".',),
    )


def photographs(size: int) -> ImageSet:
    """Read the photographs; each gives five images: its central square, and four crops of this square."""
    from skimage import data  # noqa: PLC0415 - of the extra `forgetting`
    from sklearn.datasets import load_sample_image  # noqa: PLC0415

    pixels = [getattr(data, name)() for name in SKIMAGE] + [load_sample_image(name) for name in SKLEARN]
    views = [list(_views(Image.fromarray(one).convert("L"), size)) for one in pixels]
    class_t = np.repeat(np.arange(len(views)), [len(of_one) for of_one in views])
    return ImageSet(
        name=PHOTOGRAPHS,
        levels=torch.from_numpy(np.stack([view for of_one in views for view in of_one]))[:, None],
        class_t=class_t,
        group_t=class_t,
        phrases=(*SKIMAGE.values(), *SKLEARN.values()),
        prompts=("a photo of {}.",),
    )


def _views(image: Image.Image, size: int) -> Iterator[np.ndarray]:
    """Yield the central square of a grey image and the crops at its corners, resized to `size` px by area averages."""
    side = min(image.size)
    left, top, crop = (image.width - side) // 2, (image.height - side) // 2, round(side * CROP)
    last = side - crop
    for x, y, width in ((0, 0, side), (0, 0, crop), (last, 0, crop), (0, last, crop), (last, last, crop)):
        box = (left + x, top + y, left + x + width, top + y + width)
        yield np.asarray(image.resize((size, size), Image.Resampling.BOX, box))
