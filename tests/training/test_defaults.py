"""Values that the science rests on: constants of published methods; `hubbleclip.toml` has the defaults of the settings.

A change of one of them changes every number of a run or a report, so it is made here too.
"""

import pytest

from hubbleclip.config import model as config
from hubbleclip.config.settings import SplitSettings
from hubbleclip.evaluation import names, test_set
from hubbleclip.evaluation.metrics import baselines, bootstrap, protocols, ranking, retrieval, vocabulary, zeroshot
from hubbleclip.training import finetuning, validation
from hubbleclip.training.models import builder, text_context

CONSTANTS = [
    ((builder.MAX_LOG_SCALE, config.TEMPERATURE), (4.60517, 0.07)),
    (text_context.KEPT_POSITIONS, 20),
    ((finetuning.LORA_SCALE, finetuning.HEAD_WIDTH), (2.0, 1024)),
    ((validation.TOP_SHARE, validation.MAX_ROWS), (0.1, 1024)),
    ((baselines.BM25_K1, baselines.BM25_B), (1.2, 0.75)),
    ((baselines.MODEL_WEIGHT, baselines.NUM_EXAMPLES), (2.0, 3)),
    ((bootstrap.TAIL, config.BOOTSTRAP_SEED), (0.025, 7)),
    ((config.FULL_SHARE, config.OTHER_SHARE, config.WHOLE_SHARE, config.GAIN_JITTER), (0.2, 0.1, 0.1, 0.2)),
    ((protocols.PAPERCLIP_BATCH_SIZE, protocols.PAPERCLIP_PERCENTS), (100, (1, 5, 10, 20))),
    ((retrieval.RECALLS, retrieval.SCORE_STEP, ranking.NUM_TOP), ((1, 5, 10), 1e-6, 10)),
    ((zeroshot.NUM_BINS, zeroshot.CATEGORY_PROMPTS), (10, ("{}", "a Hubble image about {}"))),
    (vocabulary.PROMPTS["object_classes"], ("{}", "a Hubble image of a {}", "observations of the {}")),
    (vocabulary.PROMPTS["science_hypotheses"], ("{}", "we propose to {}")),
    (names.HEADLINE, "i2t_accuracy_at_10pct"),
    (test_set.SAME_CAPTION_SIMILARITY, SplitSettings().near_duplicate),
]


@pytest.mark.parametrize(("found", "expected"), CONSTANTS, ids=[str(expected) for _, expected in CONSTANTS])
def test_constants_of_published_methods_and_of_the_protocols(found: object, expected: object) -> None:
    assert found == expected
