"""Names of the scorers and of the headline metric, for the report, the figures, the README and the commands."""

from __future__ import annotations

from typing import NamedTuple

HEADLINE_PERCENT = 10
"""Cutoff of the headline metric, in per cent of the items."""
HEADLINE = f"i2t_accuracy_at_{HEADLINE_PERCENT}pct"
"""Name of the headline metric: the accuracy of image to text, under the protocol `fair`."""


class Scorer(NamedTuple):
    """Displayed name of a scorer, and its description."""

    name: str
    meaning: str


SCORERS = {
    "fine_tuned": Scorer("this model", "the model of the run, at the step that is best on the validation split"),
    "other": Scorer("other run", "the model of another run, for comparison"),
    "base": Scorer(
        "base model",
        "the same network before this training: with public weights, or with random weights if it has none",
    ),
    "shuffled": Scorer(
        "control (shuffled pairs)", "the same network, trained with each tile paired with the text of another group"
    ),
    "bm25": Scorer("text search (BM25)", "no pixels: BM25 between abstract and target name, instrument, filter"),
    "hybrid": Scorer("this model with BM25", "this model and text search, fused as in the search"),
    "random": Scorer("chance", "captions or tiles in random order"),
    "oracle": Scorer("class oracle", "knows the class of each object and nothing else"),
}
"""Scorers by their key in `metrics.json` and in the catalog, in the order in which tables show them."""
