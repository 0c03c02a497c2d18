"""What a search is made of and what it returns: the records that engine, pages, API, agents and commands share."""

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
    """Which hits are folded into one: none, those of one proposal, or those of one patch of sky."""

    NONE = "none"
    PROPOSAL = "proposal"
    SKY = "sky"


class Sort(StrEnum):
    """Order of hits: best first, newest first, longest exposure first, nearest to the place first, or by chance."""

    SCORE = "score"
    DATE = "date"
    EXPOSURE = "exposure"
    DISTANCE = "distance"
    RANDOM = "random"


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """A text, a tile id, a proposal, or the path of a picture or FITS file; a negative weight avoids similar tiles."""

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
        Score of the mode, higher is better: cosine similarity, BM25, or a weighted sum of both.
    model_rank, words_rank
        Rank of the tile by the model and by words, from 1; None where the mode does not rank by it.
    num_folded
        Number of further hits of the same group that this hit represents.
    facts
        What the catalog knows of the tile, by the names in `hubbleclip.catalog.tile_facts.FACTS`; None where unknown.

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
    """Which index and which model answer; a field is None where unknown."""

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
    """A remark on a search; if another text may have been meant, `asked` is the given text and `meant` the other."""

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
        Number of hits on all pages, or a lower bound if not `is_counted`.
    num_admitted
        Number of tiles that pass the filters and, in the mode `words`, contain a word of the query.
    has_more
        Whether another page follows.
    params
        The search, with what was recognised in its texts.
    notes
        Remarks on the search.
    index
        The index that answered.

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
    """Everything known of one tile: the facts of a `Hit` and of `TILE_DETAILS`, its picture, and its FITS file."""

    tile_id: str
    facts: Mapping[str, Any]
    picture: Path
    product: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberedLabels:
    """A fact of each point, as the index of its value in `values` (the most frequent first); -1 where unknown."""

    values: list[str]
    numbers: list[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Points:
    """Projection of evenly spaced tiles of the index onto the first two principal components of the features."""

    tile_ids: list[str]
    x: list[float]
    y: list[float]
    labels: dict[str, NumberedLabels]


def plain(value: Any) -> Any:
    """Return a value as JSON can represent it: a time as text, and NaN or infinity as None."""
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds")
    return None if isinstance(value, float) and not math.isfinite(value) else value
