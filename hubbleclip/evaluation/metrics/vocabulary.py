"""A vocabulary of astronomical phrases, their prompt templates, and nearest-neighbour search by cosine similarity."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hubbleclip.core.vectors import unit
from hubbleclip.evaluation.metrics.retrieval import Floats, cosine_scores

VOCABULARY_FILE = Path(__file__).parent / "vocabulary.json"
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


def read_vocabulary(path: Path = VOCABULARY_FILE) -> Vocabulary:
    """Read a vocabulary from a JSON file.

    Parameters
    ----------
    path : Path
        JSON file with one list of phrases for each key of `PROMPTS`; by default the file in this package.

    Returns
    -------
    dict of tuple of str
        Phrases in the order of the file, by the name of their list.

    """
    values = json.loads(path.read_text(encoding="utf-8"))
    return {name: tuple(phrases) for name, phrases in values.items()}


def fill_templates(phrases: tuple[str, ...], templates: tuple[str, ...]) -> list[str]:
    """Insert every phrase into every prompt template.

    Parameters
    ----------
    phrases : tuple of str
        The k phrases.
    templates : tuple of str
        Prompt templates; each contains one `{}`, which is replaced by the phrase.

    Returns
    -------
    list of str
        Prompts: all prompts of the first phrase, then all prompts of the next phrase, and the rest likewise.

    """
    return [template.format(phrase) for phrase in phrases for template in templates]


def ensemble_prompts(feat_pd: Floats, num_templates: int) -> Floats:
    """Average the features of the prompts of each phrase, and normalise the mean.

    Parameters
    ----------
    feat_pd : ndarray
        Features (p, d) of prompts in the order of `fill_templates`.
    num_templates : int
        Number of prompts per phrase.

    Returns
    -------
    ndarray
        Features (p / num_templates, d), one row of length 1 per phrase.

    Notes
    -----
    The method is the prompt ensemble of CLIP (arXiv 2103.00020, section 3.1.4).

    """
    mean_pd = feat_pd.reshape(-1, num_templates, feat_pd.shape[1]).mean(axis=1)
    return unit(mean_pd)


def find_nearest(feat_qd: Floats, feat_id: Floats, count: int) -> list[list[Match]]:
    """Find the items nearest to each query.

    Parameters
    ----------
    feat_qd : ndarray
        Features (q, d) of the queries, of length 1.
    feat_id : ndarray
        Features (i, d) of the items, of length 1.
    count : int
        Maximum number of items per query.

    Returns
    -------
    list of list of Match
        For each query its nearest items, best first; items of equal score keep their order.

    """
    scores_qi = cosine_scores(feat_qd, feat_id)
    order_qi = np.argsort(-scores_qi, axis=1, kind="stable")[:, :count]
    return [
        [Match(index=int(item), score=float(scores_i[item])) for item in order_i]
        for scores_i, order_i in zip(scores_qi, order_qi, strict=True)
    ]
