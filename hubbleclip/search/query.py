"""What a search is asked and what it returns: the records that the engine, the page, the API and the commands share."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Any


class Mode(StrEnum):
    """How tiles are ranked: by the model's features, by BM25 over the words, or by the sum of both."""

    MODEL = "model"
    WORDS = "words"
    BOTH = "both"


class TermKind(StrEnum):
    """What a term of a query is."""

    TEXT = "text"
    TILE = "tile"
    IMAGE = "image"
    PROPOSAL = "proposal"


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """One part of a query.

    Attributes
    ----------
    kind
        What `value` is.
    value
        The text, the tile id, the proposal number, or the path of a picture or FITS file.
    weight
        Weight of the term; negative terms push tiles away.

    """

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
class Box:
    """A range of right ascension and declination, ICRS, in degrees; `ra_min_deg` > `ra_max_deg` crosses RA 0."""

    ra_min_deg: float
    ra_max_deg: float
    dec_min_deg: float
    dec_max_deg: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """Which tiles may be hits; a filter that is None or empty admits every tile."""

    instruments: tuple[str, ...] = ()
    detectors: tuple[str, ...] = ()
    bands: tuple[str, ...] = ()
    proposals: tuple[str, ...] = ()
    splits: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    pi: str | None = None
    cycles: tuple[int, ...] = ()
    observed_from: date | None = None
    observed_to: date | None = None
    exposure_min_s: float | None = None
    exposure_max_s: float | None = None
    pixel_scale_min_arcsec: float | None = None
    pixel_scale_max_arcsec: float | None = None
    moving_target: bool | None = None
    cone: Cone | None = None
    box: Box | None = None


class GroupBy(StrEnum):
    """Which hits are folded into one: none, those of one proposal, or those of one patch of sky."""

    NONE = "none"
    PROPOSAL = "proposal"
    SKY = "sky"


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A search: terms (none: every tile that the filters admit, in a fixed order), filters and the page wanted."""

    terms: tuple[Term, ...] = ()
    filters: Filters = Filters()
    mode: Mode = Mode.BOTH
    group_by: GroupBy = GroupBy.PROPOSAL
    k: int = 24
    offset: int = 0


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
        Columns of the tile's row: proposal_id, split, title, target_name, instrument, detector, filter, exposure_s,
        observed_at, ra_deg, dec_deg, pixel_scale_arcsec and the like; None where unknown.

    """

    tile_id: str
    score: float
    model_rank: int | None = None
    words_rank: int | None = None
    num_folded: int = 0
    facts: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hits:
    """A page of hits, best first, and the number of tiles that the filters admit."""

    hits: tuple[Hit, ...]
    num_admitted: int
    has_more: bool


def hit_row(hit: Hit) -> dict[str, Any]:
    """Return a hit as one flat row."""
    own = {name: getattr(hit, name) for name in ("tile_id", "score", "model_rank", "words_rank", "num_folded")}
    return own | {name: plain(value) for name, value in hit.facts.items()}


def plain(value: Any) -> Any:
    """Return a value that JSON has."""
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds")
    return None if isinstance(value, float) and not math.isfinite(value) else value
