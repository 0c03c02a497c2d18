"""Features of a test set: which texts are embedded."""

import numpy as np
import pytest
from evaluation_samples import sample

from hubbleclip.config.settings import ModelSettings
from hubbleclip.core.errors import EvaluationError
from hubbleclip.core.vectors import unit
from hubbleclip.evaluation.embed import embed_test_set, embed_vocabulary
from hubbleclip.evaluation.metrics.zeroshot import TASKS, Labels
from hubbleclip.evaluation.test_set import make_test_set
from hubbleclip.training.embeddings import embed_texts
from hubbleclip.training.models.builder import load_model


def test_texts_and_labels_are_embedded_with_their_own_prompts() -> None:
    """The feature of a phrase is the normalised mean of the features of its prompts in this task."""
    loaded = load_model(ModelSettings(name="hubbleclip-tiny", pretrained=""), 1)
    test_set = make_test_set([sample(i, i) for i in range(3)])
    labels = {
        task: Labels(phrases=phrases, prompts=prompts, is_positive_kt=np.ones((2, 3), dtype=bool))
        for task, phrases, prompts in (
            ("kind", ("comet", "galaxy"), ("{}", "a Hubble image of a {}", "observations of the {}")),
            ("category", ("stars", "cosmology"), ("{}", "a Hubble image about {}")),
        )
    }
    tile_ids, tiles_td = [one.tile_id for one in test_set.samples], np.eye(3)
    features = embed_test_set(loaded, (tile_ids, tiles_td), test_set, labels, 2)
    for task, of_task in labels.items():
        for feature_d, phrase in zip(features.labels_kd[task], of_task.phrases, strict=True):
            prompts = loaded.encode_texts([prompt.format(phrase) for prompt in of_task.prompts]).double().numpy()
            np.testing.assert_allclose(feature_d, unit(prompts.mean(axis=0)), atol=1e-6)
    assert features.tiles_td is tiles_td
    with pytest.raises(EvaluationError, match="not sorted by tile id"):
        embed_test_set(loaded, (tile_ids[::-1], tiles_td), test_set, labels, 2)
    for feature_d, caption in zip(features.captions_cd, test_set.captions_c, strict=True):
        np.testing.assert_allclose(feature_d, embed_texts(loaded, [caption], 8)[0], atol=1e-6)
    (aim_d,) = embed_vocabulary(loaded, {"science_hypotheses": ("map dust",)}, 2)["science_hypotheses"]
    aims_pd = loaded.encode_texts(["map dust", "we propose to map dust"]).double().numpy()
    np.testing.assert_allclose(aim_d, unit(aims_pd.mean(axis=0)), atol=1e-6)
    assert {task: prompts for task, (_, prompts) in TASKS.items()} == {
        task: one.prompts for task, one in labels.items()
    }
