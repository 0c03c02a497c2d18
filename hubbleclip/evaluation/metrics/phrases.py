"""Nearest phrases to a tile and nearest tiles to a phrase, with a vocabulary of the field's standard terms."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hubbleclip.core.vectors import unit
from hubbleclip.evaluation.metrics.retrieval import Floats, cosine_scores

VOCABULARY_FILE = Path(__file__).parent / "vocabulary.json"
OBJECT_PROMPTS = ("{}", "a Hubble image of a {}", "observations of the {}")
HYPOTHESIS_PROMPTS = ("{}", "we propose to {}")
QUERY_PROMPTS = ("{}",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """Phrases to choose from: kinds of object, things that a proposal may want to learn, and searches to try."""

    object_classes: tuple[str, ...]
    science_hypotheses: tuple[str, ...]
    queries: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """One of the nearest: the index of the phrase or tile, and its cosine similarity."""

    index: int
    score: float


def read_vocabulary(path: Path = VOCABULARY_FILE) -> Vocabulary:
    """Vocabulary that ships with the package, or another file of the same form."""
    values = json.loads(path.read_text(encoding="utf-8"))
    return Vocabulary(**{name: tuple(phrases) for name, phrases in values.items()})


def prompts(phrases: tuple[str, ...], templates: tuple[str, ...]) -> list[str]:
    """Every phrase in every template, phrase by phrase."""
    return [template.format(phrase) for phrase in phrases for template in templates]


def ensembled(feat_pd: Floats, num_templates: int) -> Floats:
    """One normalised feature a phrase: the mean over its templates (the prompt ensemble of CLIP, section 3.1.4)."""
    mean_pd = feat_pd.reshape(-1, num_templates, feat_pd.shape[1]).mean(axis=1)
    return unit(mean_pd)


def nearest(feat_qd: Floats, feat_id: Floats, count: int) -> list[list[Match]]:
    """Find the `count` nearest items of each query, best first; equal scores keep the items' order."""
    scores_qi = cosine_scores(feat_qd, feat_id)
    order_qi = np.argsort(-scores_qi, axis=1, kind="stable")[:, :count]
    return [
        [Match(index=int(item), score=float(scores_i[item])) for item in order_i]
        for scores_i, order_i in zip(scores_qi, order_qi, strict=True)
    ]
