"""Read the vocabulary of astronomical phrases, and find the nearest items by cosine similarity."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hubbleclip.evaluation.metrics.retrieval import Floats, cosine_scores

OBJECT_PROMPTS = ("{}", "a Hubble image of a {}", "observations of the {}")
PROMPTS = {
    "object_classes": OBJECT_PROMPTS,
    "science_hypotheses": ("{}", "we propose to {}"),
    "queries": ("{}",),
}
"""Prompt templates for each list of the vocabulary: classes of object, aims of proposals, and example queries."""
Vocabulary = dict[str, tuple[str, ...]]
"""Phrases of each list, by the keys of `PROMPTS`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """A nearest neighbour: the index of the phrase or tile, and its cosine similarity in [-1, 1]."""

    index: int
    score: float


def read_vocabulary() -> Vocabulary:
    """Read the vocabulary of this package."""
    values = json.loads(Path(__file__).with_name("vocabulary.json").read_text(encoding="utf-8"))
    return {name: tuple(phrases) for name, phrases in values.items()}


def find_nearest(feat_qd: Floats, feat_id: Floats, count: int) -> list[list[Match]]:
    """Find the items nearest to each query."""
    scores_qi = cosine_scores(feat_qd, feat_id)
    order_qi = np.argsort(-scores_qi, axis=1, kind="stable")[:, :count]
    return [
        [Match(index=int(item), score=float(scores_i[item])) for item in order_i]
        for scores_i, order_i in zip(scores_qi, order_qi, strict=True)
    ]
