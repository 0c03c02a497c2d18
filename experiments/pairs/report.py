"""How well each way to learn from pairs does on pictures that it has not seen: tables and pictures."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from experiments.pairs.folds import FoldScores, draw_folds, pooled_estimates
from experiments.pairs.frozen_features import Floats, Ints, Pairs
from experiments.pairs.methods import ARMS, Matcher
from hubbleclip.config.settings import EvaluationSettings, TrainSettings
from hubbleclip.core.errors import DatasetError, SettingsError
from hubbleclip.evaluation.metrics.bootstrap import draw_weights
from hubbleclip.evaluation.metrics.protocols import Estimate, difference
from hubbleclip.evaluation.metrics.retrieval import cosine_scores

OURS, BEFORE, RIVALS = "aligned", "untrained", ("linear", "linear, all inputs")
METRICS = ("i2t_accuracy_at_10pct", "t2i_accuracy_at_10pct", "i2t_map", "t2i_map")
POOLED = "all"
MIN_GROUPS = 10
"""Groups that are tested together at least: the top 10 % of fewer is not even one of them."""
QUERIES = (
    "a planet with rings", "colliding galaxies", "gravitational lens arcs", "globular cluster", "planetary nebula",
    "spiral galaxy seen edge-on", "supernova remnant", "star-forming nebula", "jet", "comet or asteroid",
)  # fmt: skip
TOP = 4
CELL_PX, LABEL_PX, GAP_PX = 150, 14, 4
INK, PAPER = (230, 230, 230), (40, 40, 40)

Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trial:
    """One training and one test, each on rows of some pairs."""

    seed: int
    learnt_from: Pairs
    train_rows: Ints
    tested_on: Pairs
    rows: Ints

    @property
    def train(self) -> Pairs:
        """What is learnt from."""
        return self.learnt_from.take(self.train_rows)

    @property
    def test(self) -> Pairs:
        """What is tested on."""
        return self.tested_on.take(self.rows)


def check_repetitions(num_folds: int, num_seeds: int) -> None:
    """Raises SettingsError for folds that leave nothing to learn from, or for no seed."""
    if num_folds < 2:
        raise SettingsError(f"{num_folds} folds leave nothing to learn from: set --folds to 2 or more")
    if num_seeds < 1:
        raise SettingsError(f"{num_seeds} seeds train nothing: set --seeds to 1 or more")


def check_size(num_groups: int, num_folds: int = 1) -> None:
    """Raises DatasetError where a fold would have too few caption groups for figures that mean something."""
    if num_groups // num_folds < MIN_GROUPS:
        raise DatasetError(
            f"{num_groups} caption groups are too few for {num_folds} test part(s), of which each needs {MIN_GROUPS}: "
            "add pictures with captions of their own or, without --test, set --folds lower"
        )


def check_apart(learnt: tuple[Set[str], Set[str]], tested: tuple[Set[str], Set[str]]) -> None:
    """Raises DatasetError where two folders, as the hashes of their pictures and their captions, share some."""
    pictures, captions = (one & other for one, other in zip(learnt, tested, strict=True))
    if pictures or captions:
        raise DatasetError(
            f"{len(pictures)} pictures and {len(captions)} captions stand in both folders, and would be learnt before "
            "they are tested: take them out of one"
        )


def cross_trials(pairs: Pairs, num_folds: int, seeds: Sequence[int]) -> list[Trial]:
    """Every picture is tested once for each seed, by what was learnt from the folds without its group."""
    num_groups = int(pairs.group_n.max()) + 1
    fold_of = {seed: draw_folds(num_groups, num_folds, seed)[pairs.group_n] for seed in seeds}
    return [
        Trial(
            seed=seed, learnt_from=pairs, train_rows=np.flatnonzero(fold_n != fold),
            tested_on=pairs, rows=np.flatnonzero(fold_n == fold),
        )
        for seed, fold_n in fold_of.items()
        for fold in range(num_folds)
    ]  # fmt: skip


def apart_trials(train: Pairs, test: Pairs, seeds: Sequence[int]) -> list[Trial]:
    """All of one folder learnt, all of another tested."""
    train_rows, rows = np.arange(len(train.names)), np.arange(len(test.names))
    return [Trial(seed=seed, learnt_from=train, train_rows=train_rows, tested_on=test, rows=rows) for seed in seeds]


def learn(trials: Sequence[Trial], settings: TrainSettings) -> dict[str, list[Matcher]]:
    """What each way to learn makes of each trial's pairs."""
    return {
        name: [arm(trial.train, settings.model_copy(update={"seed": trial.seed})) for trial in trials]
        for name, arm in ARMS.items()
    }


def score(trial: Trial, matcher: Matcher) -> FoldScores:
    """Pictures against one caption of each group."""
    shown = trial.test
    group_g, first_g = np.unique(shown.group_n, return_index=True)
    said = shown.take(first_g)
    scores_tg = cosine_scores(
        matcher.pictures(shown.views_nvd).astype(np.float64),
        matcher.texts(said.captions, said.caption_ne).astype(np.float64),
    )
    return FoldScores(scores_tg=scores_tg, group_t=shown.group_n, group_g=group_g)


def measure(
    trials: Sequence[Trial], matchers: Mapping[str, Sequence[Matcher]], settings: EvaluationSettings
) -> list[Row]:
    """A row for each way to learn and each seed, then for all seeds: figures with 95 % intervals, and what is gained on
    the rivals, paired.
    """
    num_groups = 1 + max(int(trial.tested_on.group_n.max()) for trial in trials)
    weights_bg = draw_weights(num_groups, settings.bootstrap, settings.seed)
    rows = []
    seeds: list[int | str] = [*dict.fromkeys(trial.seed for trial in trials), POOLED]
    for seed in seeds:
        chosen = [number for number, trial in enumerate(trials) if seed in {trial.seed, POOLED}]
        found = {
            name: pooled_estimates(name, [score(trials[number], learnt[number]) for number in chosen], weights_bg)
            for name, learnt in matchers.items()
        }
        rows += [_row(seed, name, found) for name in matchers]
    return rows


def _row(seed: int | str, name: str, found: Mapping[str, Sequence[Estimate]]) -> Row:
    row: Row = {"seed": seed, "way": name}
    for ours, *rivals in zip(found[name], *(found[rival] for rival in RIVALS), strict=True):
        if ours.name in METRICS:
            row[ours.name] = [ours.value, *ours.interval()]
            gains = [difference(ours, rival) for rival in rivals]
            row |= {gain.name: [gain.value, *gain.interval()] for gain in gains}
    return row


def table_rows(rows: Sequence[Row]) -> list[Row]:
    """The rows for people: percent and points, and `better` only where the interval leaves 0 out. The second
    rival is in the figures alone: a terminal is not wide enough.
    """
    return [_told(row) for row in rows]


def _told(row: Row) -> Row:
    told = {"seed": row["seed"], "way": row["way"]}
    for name in METRICS[:2]:
        direction = name.partition("_")[0]
        value, low, high = (100 * number for number in row[name])
        told[f"{direction} top 10 %"] = f"{value:.1f} [{low:.1f}, {high:.1f}]"
        gain, least, most = (100 * number for number in row[f"{name}_minus_{RIVALS[0]}"])
        verdict = "" if least <= 0 <= most else " better" if gain > 0 else " worse"
        told[f"{direction} minus {RIVALS[0]}"] = f"{gain:+.1f} [{least:+.1f}, {most:+.1f}]{verdict}"
    return told


def query_scores(trials: Sequence[Trial], learnt: Sequence[Matcher], query_qe: Floats) -> Floats:
    """Scores (q, n) of all pictures for the queries by what had not seen them, of the first seed. Scores of different
    trainings meet as deviations from each one's mean.
    """
    chosen = [(trial, matcher) for trial, matcher in zip(trials, learnt, strict=True) if trial.seed == trials[0].seed]
    scores_qn = np.zeros((len(QUERIES), sum(len(trial.rows) for trial, _ in chosen)), np.float32)
    for trial, matcher in chosen:
        found_qt = matcher.texts(QUERIES, query_qe) @ matcher.pictures(trial.test.views_nvd).T
        spread = np.maximum(found_qt.std(axis=1, keepdims=True), 1e-9)
        scores_qn[:, trial.rows] = (found_qt - found_qt.mean(axis=1, keepdims=True)) / spread
    return scores_qn


def top_pictures(scores_qn: Floats) -> Ints:
    """The rows (q, 4) of the best pictures, best first."""
    return np.argsort(-scores_qn, axis=1, kind="stable")[:, :TOP]


def render_tops(before_qk: Ints, after_qk: Ints, pictures: Mapping[int, NDArray[np.uint8]]) -> bytes:
    """A PNG with a row a query: its best pictures before training, then after, each (h, w, 3) by its row."""
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


def results_json(rows: Sequence[Row], tops: Mapping[str, Ints], names: Sequence[str], facts: Row) -> bytes:
    """All figures, unrounded, and the names of the best pictures of each query."""
    best = {
        when: {query: [names[row] for row in rows_k] for query, rows_k in zip(QUERIES, top_qk, strict=True)}
        for when, top_qk in tops.items()
    }
    return (json.dumps(facts | {"rows": list(rows), "queries": best}, indent=1) + "\n").encode("utf-8")
