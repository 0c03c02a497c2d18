"""Whether a run is better than another on val: the same tiles, captions and resamples for both."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from hubbleclip.config.settings import EvaluationSettings
from hubbleclip.core.records import Promotion
from hubbleclip.dataset.build import DatasetInfo
from hubbleclip.evaluation.embed import chosen_precision, embed_texts
from hubbleclip.evaluation.embed_parallel import ModelSource, SpreadParts, embed_splits
from hubbleclip.evaluation.metrics.protocols import Estimate, Scores, difference, draw_owners, fair_estimates
from hubbleclip.evaluation.metrics.retrieval import cosine_scores
from hubbleclip.evaluation.report.write import read_samples
from hubbleclip.evaluation.test_set import make_test_set

METRIC = "i2t_accuracy_at_10pct"


def split_estimates(
    info: DatasetInfo, run_dir: Path, settings: EvaluationSettings, split: str, spread: SpreadParts | None = None
) -> list[Estimate]:
    """A run's figures under `fair` on a split, resampled by proposal group; the scorer is the run's id. Tiles are
    embedded where `spread` has it done.

    Raises EvaluationError when the split has fewer than two groups.
    """
    test_set = make_test_set(read_samples(info), split)
    source = ModelSource(run_dir=run_dir, precision=chosen_precision(settings.precision))
    loaded = source.load()
    ((_, tiles_td),) = embed_splits({source: loaded}, [(source, split)], info, settings.batch_size, spread).values()
    scores_tc = cosine_scores(tiles_td, embed_texts(loaded, test_set.captions_c, settings.batch_size))
    scores = Scores(scorer=run_dir.name, i2t_tc=scores_tc, t2i_ct=scores_tc.T)
    return fair_estimates(scores, draw_owners(test_set, settings.bootstrap, settings.seed))


def val_estimate(
    info: DatasetInfo, run_dir: Path, settings: EvaluationSettings, spread: SpreadParts | None = None
) -> Estimate:
    """A run's `METRIC` on val.

    A run that was trained on an older dataset has seen none of these tiles, since no tile ever changes its split.
    Raises EvaluationError when val has fewer than two groups.
    """
    return next(one for one in split_estimates(info, run_dir, settings, "val", spread) if one.name == METRIC)


def decide(candidate: Estimate, promoted: Estimate | None, decided_at: datetime) -> Promotion:
    """The candidate takes the place of the promoted run when the 95 % interval of the paired difference lies above 0,
    or when there is none before it.
    """
    gain = difference(candidate, promoted) if promoted else None
    low, high = gain.interval() if gain else (None, None)
    return Promotion(
        run_id=candidate.scorer,
        previous_run_id=promoted.scorer if promoted else None,
        is_promoted=low is None or low > 0,
        metric=candidate.name,
        value=candidate.value,
        difference=gain.value if gain else None,
        low=low,
        high=high,
        decided_at=decided_at,
    )
