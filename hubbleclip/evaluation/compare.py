"""Paired comparison of two runs on the validation split: the same tiles, captions and resamples for both."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from hubbleclip.config.settings import EvaluationSettings
from hubbleclip.core.records import Promotion
from hubbleclip.dataset.build import DatasetInfo
from hubbleclip.evaluation.embed import embed_texts, resolve_precision
from hubbleclip.evaluation.embed_parallel import EmbedMapFn, ModelSource, embed_splits
from hubbleclip.evaluation.metrics.protocols import Estimate, Scores, difference, draw_resamples, fair_estimates
from hubbleclip.evaluation.metrics.retrieval import cosine_scores
from hubbleclip.evaluation.report.write import read_samples
from hubbleclip.evaluation.test_set import make_test_set

PROMOTION_METRIC = "i2t_accuracy_at_10pct"


def split_estimates(
    info: DatasetInfo, run_dir: Path, settings: EvaluationSettings, split: str, map_fn: EmbedMapFn | None = None
) -> list[Estimate]:
    """Estimate a run's metrics under the protocol `fair` on a split, resampled by proposal group.

    Parameters
    ----------
    info : DatasetInfo
        Dataset that holds the split.
    run_dir : Path
        Folder of a finished run; its name is the scorer of the estimates.
    settings : EvaluationSettings
        Its precision, batch size, number of resamples and seed are used.
    split : str
        `train`, `val` or `test`.
    map_fn : EmbedMapFn, optional
        Embeds the tiles in other processes; by default they are embedded in this one.

    Returns
    -------
    list of Estimate
        All metrics of both directions.

    Raises
    ------
    EvaluationError
        If the split has fewer than two proposal groups.

    """
    test_set = make_test_set(read_samples(info), split)
    source = ModelSource(run_dir=run_dir, precision=resolve_precision(settings.precision))
    loaded = source.load()
    ((_, tiles_td),) = embed_splits({source: loaded}, [(source, split)], info, settings.batch_size, map_fn).values()
    scores_tc = cosine_scores(tiles_td, embed_texts(loaded, test_set.captions_c, settings.batch_size))
    scores = Scores(scorer=run_dir.name, i2t_tc=scores_tc, t2i_ct=scores_tc.T)  # the folder of a run has its id as name
    return fair_estimates(scores, draw_resamples(test_set, settings.bootstrap, settings.seed))


def val_estimate(
    info: DatasetInfo, run_dir: Path, settings: EvaluationSettings, map_fn: EmbedMapFn | None = None
) -> Estimate:
    """Estimate a run's `PROMOTION_METRIC` on val.

    A run that was trained on an older dataset has seen none of these tiles, because no tile ever changes its split.

    Parameters
    ----------
    info : DatasetInfo
        Dataset whose val split is used.
    run_dir : Path
        Folder of a finished run.
    settings : EvaluationSettings
        Its precision, batch size, number of resamples and seed are used.
    map_fn : EmbedMapFn, optional
        Embeds the tiles in other processes; by default they are embedded in this one.

    Returns
    -------
    Estimate
        The metric, with resamples that are paired between runs.

    Raises
    ------
    EvaluationError
        If val has fewer than two proposal groups.

    """
    estimates = split_estimates(info, run_dir, settings, "val", map_fn)
    return next(estimate for estimate in estimates if estimate.name == PROMOTION_METRIC)


def decide(candidate: Estimate, promoted: Estimate | None, decided_at: datetime) -> Promotion:
    """Decide whether a candidate replaces the promoted run.

    It does if the 95 % interval of the paired difference is above 0, or if no run is promoted yet.

    Parameters
    ----------
    candidate : Estimate
        Metric of the new run; its scorer is the run's id.
    promoted : Estimate or None
        The same metric of the promoted run on the same resamples.
    decided_at : datetime
        Time of the decision, UTC.

    Returns
    -------
    Promotion
        Row of the catalog with the decision and the difference.

    """
    gain = difference(candidate, promoted) if promoted else None
    low, high = gain.interval() if gain else (None, None)
    return Promotion(
        run_id=candidate.scorer,
        previous_run_id=promoted.scorer if promoted else None,
        is_promoted=low is None or low > 0,  # no interval: the first run has nothing to be compared with
        metric=candidate.name,
        value=candidate.value,
        difference=gain.value if gain else None,
        low=low,
        high=high,
        decided_at=decided_at,
    )
