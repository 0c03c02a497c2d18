"""Score each method on pictures that were not used in its training, and make tables and pictures of the results."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from experiments.pairs.folds import FoldScores, draw_folds, pooled_estimates
from experiments.pairs.frozen_features import Floats, Ints, Pairs
from experiments.pairs.methods import METHODS, SEEDED, Matcher
from hubbleclip.config.settings import EvaluationSettings, TrainSettings
from hubbleclip.core.errors import DatasetError, SettingsError
from hubbleclip.dataset.splits.continuations import Link
from hubbleclip.evaluation.metrics.bootstrap import draw_weights
from hubbleclip.evaluation.metrics.protocols import Estimate, difference
from hubbleclip.evaluation.metrics.retrieval import cosine_scores

OURS, UNTRAINED, BASELINES = "aligned", "untrained", ("linear", "linear, all inputs")
METRICS = ("i2t_top_10pct", "t2i_top_10pct", "i2t_auc", "t2i_auc")
POOLED = "all"
MIN_GROUPS = 10
"""Smallest number of groups in a test part, because 10 % of fewer groups is less than one group."""
MAX_NAMED = 5
"""Number of pairs of related pictures that a message names."""
QUERIES = (
    "a planet with rings",
    "colliding galaxies",
    "gravitational lens arcs",
    "globular cluster",
    "planetary nebula",
    "spiral galaxy seen edge-on",
    "supernova remnant",
    "star-forming nebula",
    "jet",
    "comet or asteroid",
)
TOP = 4
CELL_PX, LABEL_PX, GAP_PX = 150, 14, 4
INK, PAPER = (230, 230, 230), (40, 40, 40)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trial:
    """One training and one test.

    `draw` is the number of the draw of the folds, and the seed of the methods that have one. `train_rows` and
    `test_rows` are the row numbers of the pictures in `train_pairs` and `test_pairs`.
    """

    draw: int
    train_pairs: Pairs
    train_rows: Ints
    test_pairs: Pairs
    test_rows: Ints

    @property
    def train(self) -> Pairs:
        """The pairs that are used for training."""
        return self.train_pairs.take(self.train_rows)

    @property
    def test(self) -> Pairs:
        """The pairs that are used for testing."""
        return self.test_pairs.take(self.test_rows)


def check_repetitions(num_folds: int, num_draws: int) -> None:
    """Check the numbers of folds and draws."""
    if num_folds < 2:
        raise SettingsError(f"{num_folds} folds leave nothing to train on: set --folds to 2 or more")
    if num_draws < 1:
        raise SettingsError(f"{num_draws} draws train nothing: set --draws to 1 or more")


def check_size(num_groups: int, num_folds: int = 1) -> None:
    """Check that each test part has enough groups for meaningful metrics."""
    if num_groups // num_folds < MIN_GROUPS:
        raise DatasetError(
            f"{num_groups} groups of related pictures are too few for {num_folds} test part(s), each of which needs "
            f"{MIN_GROUPS}: add pictures of other subjects or, without --test, set --folds lower"
        )


def check_unrelated(links: Sequence[Link]) -> None:
    """Check that no picture of the training folder is related to one of the test folder."""
    if links:
        pairs = [f"{link.one} and {link.other} ({link.reason}: {link.detail})" for link in links[:MAX_NAMED]]
        raise DatasetError(
            f"{len({link.one for link in links})} training pictures are related to test pictures: {'; '.join(pairs)}"
            f"{'; ...' if len(links) > MAX_NAMED else ''}. Remove them, or set --drop-related to train without them"
        )


def cross_validation_trials(pairs: Pairs, num_folds: int, draws: Sequence[int]) -> list[Trial]:
    """Plan a cross-validation.

    Every picture is tested once per draw, by a training that excludes its group.
    """
    num_groups = int(pairs.group_n.max()) + 1
    # folds are assigned to groups, not to pictures, so that a group is never divided between folds
    fold_of = {draw: draw_folds(num_groups, num_folds, draw)[pairs.group_n] for draw in draws}
    return [
        Trial(
            draw=draw,
            train_pairs=pairs,
            train_rows=np.flatnonzero(fold_n != fold),
            test_pairs=pairs,
            test_rows=np.flatnonzero(fold_n == fold),
        )
        for draw, fold_n in fold_of.items()
        for fold in range(num_folds)
    ]


def holdout_trials(train: Pairs, test: Pairs, draws: Sequence[int]) -> list[Trial]:
    """Plan trials that train on all pictures of one folder and test on all pictures of another folder."""
    train_rows, test_rows = np.arange(len(train.names)), np.arange(len(test.names))
    return [
        Trial(draw=draw, train_pairs=train, train_rows=train_rows, test_pairs=test, test_rows=test_rows)
        for draw in draws
    ]


def fit(trials: Sequence[Trial], settings: TrainSettings) -> dict[str, list[Matcher]]:
    """Train every method on every trial."""
    matchers: dict[str, list[Matcher]] = {}
    for name, method in METHODS.items():
        fitted: dict[tuple[bytes, int], Matcher] = {}
        keys = [(trial.train_rows.tobytes(), trial.draw if name in SEEDED else 0) for trial in trials]
        for key, trial in zip(keys, trials, strict=True):
            if key not in fitted:
                fitted[key] = method(trial.train, settings.model_copy(update={"seed": trial.draw}))
        matchers[name] = [fitted[key] for key in keys]
    return matchers


def score(trial: Trial, matcher: Matcher) -> FoldScores:
    """Score the test pictures of a trial against the test captions."""
    test = trial.test
    scores_tt = cosine_scores(
        matcher.embed_pictures(test.views_nvd).astype(np.float64),
        matcher.embed_texts(test.captions, test.caption_ne).astype(np.float64),
    )
    return FoldScores(scores_tt=scores_tt, group_t=test.group_n)


def measure(
    trials: Sequence[Trial], matchers: Mapping[str, Sequence[Matcher]], settings: EvaluationSettings
) -> list[dict[str, Any]]:
    """Compute the metrics of all methods, and their paired differences to the baselines, with 95 % intervals."""
    num_groups = 1 + max(int(trial.test_pairs.group_n.max()) for trial in trials)
    # all methods use the same resamples, so that their differences are paired
    weights_bg = draw_weights(num_groups, settings.bootstrap)
    scores = {
        name: [score(*pair) for pair in zip(trials, of_method, strict=True)] for name, of_method in matchers.items()
    }
    rows = []
    draws: list[int | str] = [*dict.fromkeys(trial.draw for trial in trials), POOLED]
    for draw in draws:
        chosen = [number for number, trial in enumerate(trials) if draw in {trial.draw, POOLED}]
        estimates = {
            name: pooled_estimates(name, [of_method[number] for number in chosen], weights_bg)
            for name, of_method in scores.items()
        }
        rows += [_row(draw, name, estimates) for name in matchers]
    return rows


def _row(draw: int | str, name: str, estimates: Mapping[str, Sequence[Estimate]]) -> dict[str, Any]:
    """Make one row of the table, with the metrics and differences of one method and their intervals."""
    row: dict[str, Any] = {"draw": draw, "method": name}
    for ours, *baselines in zip(estimates[name], *(estimates[baseline] for baseline in BASELINES), strict=True):
        if ours.name in METRICS:
            row[ours.name] = [ours.value, *ours.interval()]
            gains = [difference(ours, baseline) for baseline in baselines]
            row |= {gain.name: [gain.value, *gain.interval()] for gain in gains}
    return row


def table_rows(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Format the rows over all draws as a table in percent, with differences in percentage points.

    A difference is marked as `better` or `worse` only if its interval excludes 0.
    """
    return [_table_row(row) for row in rows if row["draw"] == POOLED]


def _table_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """Format one row of the table."""
    cells = {"method": row["method"]}
    for name in METRICS[:2]:
        direction = name.partition("_")[0]
        value, low, high = (100 * number for number in row[name])
        cells[f"{direction} top 10 %"] = f"{value:.1f} [{low:.1f}, {high:.1f}]"
        # in percentage points; the row of the baseline itself has a difference of 0 and therefore no verdict
        gain, least, most = (100 * number for number in row[f"{name}_minus_{BASELINES[-1]}"])
        verdict = "" if least <= 0 <= most else " better" if gain > 0 else " worse"
        cells[f"{direction} minus {BASELINES[-1]}"] = f"{gain:+.1f} [{least:+.1f}, {most:+.1f}]{verdict}"
    return cells


def query_scores(trials: Sequence[Trial], matchers: Sequence[Matcher], query_qe: Floats) -> Floats:
    """Score all test pictures for each query, using the trials of the first draw.

    Each picture is scored by a matcher that was not trained on this picture.
    """
    chosen = [(trial, matcher) for trial, matcher in zip(trials, matchers, strict=True) if trial.draw == trials[0].draw]
    scores_qn = np.zeros((len(QUERIES), sum(len(trial.test_rows) for trial, _ in chosen)), np.float32)
    for trial, matcher in chosen:
        scores_qt = matcher.embed_texts(QUERIES, query_qe) @ matcher.embed_pictures(trial.test.views_nvd).T
        # the scale of the scores differs between trials; 1e-9 avoids a division by zero
        spread = np.maximum(scores_qt.std(axis=1, keepdims=True), 1e-9)
        scores_qn[:, trial.test_rows] = (scores_qt - scores_qt.mean(axis=1, keepdims=True)) / spread
    return scores_qn


def top_pictures(scores_qn: Floats) -> Ints:
    """Find the pictures with the highest scores for each query."""
    return np.argsort(-scores_qn, axis=1, kind="stable")[:, :TOP]


def render_top_pictures(before_qk: Ints, after_qk: Ints, pictures: Mapping[int, NDArray[np.uint8]]) -> bytes:
    """Draw the best pictures of each query before and after training."""
    pitch_px = CELL_PX + GAP_PX
    width, height = 2 * TOP * pitch_px + 5 * GAP_PX, len(QUERIES) * (pitch_px + LABEL_PX) + GAP_PX
    sheet = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(sheet)
    for row, query in enumerate(QUERIES):
        y = GAP_PX + row * (pitch_px + LABEL_PX)
        for side, (when, top_qk) in enumerate((("before", before_qk), ("after", after_qk))):
            left = GAP_PX + side * (TOP * pitch_px + 3 * GAP_PX)
            draw.text((left, y), f"{when}: {query}", fill=INK)
            for place, number in enumerate(top_qk[row]):
                picture = Image.fromarray(pictures[int(number)])
                picture.thumbnail((CELL_PX, CELL_PX))
                sheet.paste(picture, (left + place * pitch_px, y + LABEL_PX))
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    return buffer.getvalue()


def results_json(
    rows: Sequence[Mapping[str, Any]], tops: Mapping[str, Ints], names: Sequence[str], facts: dict[str, Any]
) -> bytes:
    """Serialise the unrounded metrics, and the names of the best pictures of each query."""
    best = {
        when: {query: [names[row] for row in rows_k] for query, rows_k in zip(QUERIES, top_qk, strict=True)}
        for when, top_qk in tops.items()
    }
    return (json.dumps(facts | {"rows": list(rows), "queries": best}, indent=1) + "\n").encode("utf-8")
