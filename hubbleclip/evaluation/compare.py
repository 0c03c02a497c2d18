"""Compare two runs on the validation split; both runs are scored on the same tiles, captions and resamples."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from hubbleclip.config.settings import EvaluationSettings
from hubbleclip.core.records import Promotion
from hubbleclip.dataset.manifest import DatasetInfo, samples_of
from hubbleclip.evaluation.embed import EmbedMapFn, ModelSource, embed_split
from hubbleclip.evaluation.metrics.bootstrap import draw_weights
from hubbleclip.evaluation.metrics.protocols import Estimate, Scores, difference, fair_estimates
from hubbleclip.evaluation.names import HEADLINE
from hubbleclip.evaluation.test_set import make_test_set
from hubbleclip.training.embeddings import embed_texts, resolve_precision


def split_estimates(
    info: DatasetInfo, run_dir: Path, settings: EvaluationSettings, split: str, map_fn: EmbedMapFn | None = None
) -> list[Estimate]:
    """Estimate a run's metrics on one split under the protocol `fair`; the bootstrap resamples proposal groups."""
    test_set = make_test_set(samples_of(info.manifest), split)
    source = ModelSource(run_dir=run_dir, precision=resolve_precision(settings.precision))
    loaded = source.load()
    ((_, tiles_td),) = embed_split({source: loaded}, split, info, settings.batch_size, map_fn).values()
    captions_cd = embed_texts(loaded, test_set.captions_c, settings.batch_size)
    scores = Scores.of_features(run_dir.name, tiles_td, captions_cd)  # the name of a run's folder is its id
    return fair_estimates(scores, test_set, draw_weights(test_set.num_groups, settings.bootstrap))


def val_estimate(
    info: DatasetInfo, run_dir: Path, settings: EvaluationSettings, map_fn: EmbedMapFn | None = None
) -> Estimate:
    """Estimate a run's headline metric on the validation split; this metric decides whether the run is promoted.

    No tile ever changes its split, so no run was trained on these tiles, not even a run on an older dataset.
    """
    estimates = split_estimates(info, run_dir, settings, "val", map_fn)
    return next(estimate for estimate in estimates if estimate.name == HEADLINE)


def decide(candidate: Estimate, promoted: Estimate | None, decided_at: datetime) -> Promotion:
    """Decide whether a candidate replaces the promoted run.

    The candidate is promoted if the whole 95 % interval of the paired difference is above 0, or if no run has been
    promoted yet.
    """
    gain = difference(candidate, promoted) if promoted else None
    low, high = gain.interval() if gain else (None, None)
    return Promotion(
        run_id=candidate.scorer,
        previous_run_id=promoted.scorer if promoted else None,
        is_promoted=low is None or low > 0,  # `low` is None if no run was promoted before
        metric=candidate.name,
        value=candidate.value,
        difference=gain.value if gain else None,
        low=low,
        high=high,
        decided_at=decided_at,
    )
