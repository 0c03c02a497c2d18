"""The frozen image-text benchmark: its rule, its test set, and the scores of a model.

`README.md` in this folder is the protocol. The test set consists of all tiles of a dataset whose programmes belong to
the benchmark, in any split.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hubbleclip.config.settings import EvaluationSettings
from hubbleclip.core.errors import EvaluationError
from hubbleclip.core.records import Sample
from hubbleclip.dataset.splits.schemes import BENCHMARK, is_benchmark_program, program_number
from hubbleclip.evaluation.benchmarks.items import ItemSet
from hubbleclip.evaluation.metrics.bootstrap import draw_weights
from hubbleclip.evaluation.metrics.protocols import Scores, chance_estimates, fair_estimates
from hubbleclip.evaluation.metrics.retrieval import Floats
from hubbleclip.evaluation.test_set import TestSet, make_test_set


def benchmark_items(samples: Sequence[Sample]) -> ItemSet:
    """Select the tiles of the benchmark's programmes, and their captions; a tile's own caption has the grade 1."""
    chosen = [
        sample
        for sample in samples
        if (number := program_number(sample.proposal_id)) is not None and is_benchmark_program(number)
    ]
    if len({sample.group_id for sample in chosen}) < 2:
        raise EvaluationError(
            f"the dataset has {len({sample.proposal_id for sample in chosen})} programmes of the benchmark"
            f" {BENCHMARK} in fewer than 2 groups: build a dataset of more programmes"
        )
    test_set = make_test_set(chosen, split=None)
    own_tc = test_set.caption_t[:, None] == np.arange(len(test_set.captions_c))
    proposal_t = np.array([sample.proposal_id for sample in test_set.samples])
    return ItemSet(
        benchmark=BENCHMARK,
        samples=test_set.samples,
        text_ids=tuple(str(min(proposal_t[own_t])) for own_t in own_tc.T),
        texts=test_set.captions_c,
        group_t=test_set.group_t,
        grades_tk=own_tc.astype(np.float64),
    )


def test_set_of(items: ItemSet) -> TestSet:
    """Convert items to a test set; the own caption of an image is the caption with the highest grade."""
    caption_t = items.grades_tk.argmax(axis=1)
    group_c = np.zeros(len(items.texts), dtype=np.int64)
    group_c[caption_t] = items.group_t
    return TestSet(samples=items.samples, caption_t=caption_t, captions_c=items.texts, group_c=group_c)


def score(items: ItemSet, scores: Mapping[str, Floats], settings: EvaluationSettings) -> list[dict[str, Any]]:
    """Estimate the retrieval metrics of the given scorers, of text search and of chance, in both directions.

    `scores` maps the name of each scorer to scores (t, c); one name is `model`. From text to image, each scorer uses
    its own scores. From image to text, all scorers use the scores of `model`, because a reranker ranks only images.
    """
    test_set = test_set_of(items)
    weights_bg = draw_weights(test_set.num_groups, settings.bootstrap)
    scorers = [Scores(scorer=name, i2t_tc=scores["model"], t2i_ct=one_tc.T) for name, one_tc in scores.items()]
    scorers.append(Scores.of_text_search(test_set))
    estimates = [estimate for one in scorers for estimate in fair_estimates(one, test_set, weights_bg)]
    estimates += chance_estimates(test_set, weights_bg)
    return [estimate.row() for estimate in estimates]


def identity(items: ItemSet, trained: frozenset[str] | None) -> dict[str, Any]:
    """Identify items by their digest and their counts; scores are comparable only on the same items.

    `trained` lists the proposals that the scored model was trained on; None if they are unknown.
    """
    programs = {sample.proposal_id for sample in items.samples}
    return {
        "benchmark": items.benchmark,
        "items_sha256": items.digest,
        "dataset_digest": items.dataset_digest,
        "num_tiles": len(items.samples),
        "num_captions": len(items.texts),
        "num_programs": len(programs),
        "num_groups": len(np.unique(items.group_t)),
        "num_programs_in_train": None if trained is None else len(programs & trained),
    }
