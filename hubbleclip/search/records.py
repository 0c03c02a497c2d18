"""Types of searches and results that the search engine, web pages, HTTP API, agent tools and commands share."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from hubbleclip.search.params import SearchParams

OWN_FACTS = ("tile_id", "score", "model_rank", "words_rank", "num_folded")
"""Values of a hit that come from the search and not from the catalog."""


class Mode(StrEnum):
    """How tiles are ranked: by the model's features, by BM25 over the words, or by the sum of both."""

    MODEL = "model"
    WORDS = "words"
    BOTH = "both"


TermKind = Literal["text", "tile", "image", "proposal"]
"""Kind of a term: a text, an indexed tile, a picture or FITS file, or the abstract of a proposal."""


class GroupBy(StrEnum):
    """Grouping of hits: none, by proposal, or by patch of sky (HEALPix cell); a search returns one hit per group."""

    NONE = "none"
    PROPOSAL = "proposal"
    SKY = "sky"


class Sort(StrEnum):
    """Order of hits: by score, date (newest first), exposure time (longest first), distance from `place`, or random."""

    SCORE = "score"
    DATE = "date"
    EXPOSURE = "exposure"
    DISTANCE = "distance"
    RANDOM = "random"


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """A text, tile id, proposal, or path of a picture or FITS file; a negative `weight` ranks similar tiles lower."""

    kind: TermKind
    value: str
    weight: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Cone:
    """A circle on the sky, ICRS: centre and radius in degrees."""

    ra_deg: float
    dec_deg: float
    radius_deg: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """A tile that a search found.

    Attributes
    ----------
    tile_id
        Id of the tile.
    score
        Score, higher is better: cosine similarity, BM25 score, or a weighted sum of both, depending on the `Mode`.
    model_rank, words_rank
        Ranks of the tile by the model's features and by words, from 1; None if the tile has no such rank.
    num_folded
        Number of further hits of the same group that this hit represents.
    facts
        Values of the tile in the catalog, by the names in `hubbleclip.catalog.tile_facts.FACTS`; None where unknown.

    """

    tile_id: str
    score: float
    model_rank: int | None = None
    words_rank: int | None = None
    num_folded: int = 0
    facts: dict[str, Any]

    def row(self) -> dict[str, Any]:
        """Return the hit as one flat row of values that JSON can represent.

        Returns
        -------
        dict
            Values by name.

        """
        return {name: getattr(self, name) for name in OWN_FACTS} | {n: plain(v) for n, v in self.facts.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexStatus:
    """Index and model that a search uses; a field is None if its value is unknown."""

    num_tiles: int
    is_simulated: bool
    model: str
    run_id: str | None = None
    model_digest: str | None = None
    dataset_digest: str | None = None
    promoted_at: datetime | None = None
    indexed_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """A remark on a search. For a proposed correction, `asked` is the original text, and `meant` the corrected text."""

    text: str
    asked: str = ""
    meant: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hits:
    """A page of hits, best first.

    Attributes
    ----------
    hits
        Hits of the page.
    num_hits
        Number of hits on all pages; a lower bound if `is_counted` is False.
    num_admitted
        Number of tiles that pass the filters. In the mode `words`, a tile is counted only if its proposal or target
        contains a word of the query.
    has_more
        Whether another page follows.
    params
        Parameters of the search, including those that were recognised in its texts.
    notes
        Remarks on the search.
    index
        Index and model that the search used.

    """

    hits: tuple[Hit, ...]
    num_hits: int
    is_counted: bool
    num_admitted: int
    has_more: bool
    params: SearchParams
    notes: tuple[Note, ...]
    index: IndexStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class TileRecord:
    """Facts of one tile (columns of `catalog.tile_facts.TILE_DETAILS`), and the paths of its picture and FITS file."""

    tile_id: str
    facts: Mapping[str, Any]
    picture: Path
    product: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberedLabels:
    """Labels of tiles: distinct `values`, most frequent first, and each tile's index into `values`; -1 if unknown."""

    values: list[str]
    numbers: list[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Points:
    """Tiles from evenly spaced index rows; `x` and `y` are the first two principal components of the features."""

    tile_ids: list[str]
    x: list[float]
    y: list[float]
    labels: dict[str, NumberedLabels]


def plain(value: Any) -> Any:
    """Return a value as JSON can represent it: a time as text, and NaN or infinity as None."""
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds")
    return None if isinstance(value, float) and not math.isfinite(value) else value
