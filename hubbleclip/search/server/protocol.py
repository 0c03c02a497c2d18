"""What the server needs of a search engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from hubbleclip.search.query import Cone, Hits, Query
from hubbleclip.search.server.occlusion import Occlusion

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class TileRecord:
    """Everything known of one tile.

    Attributes
    ----------
    tile_id
        Id of the tile.
    facts
        Those of a `Hit`, and also abstract, pi, cycle, category, obs_id, product_uri, size_px, target_class,
        corners_deg and wcs (text of a FITS header); None where unknown.
    picture
        Path of the PNG or JPEG file.

    """

    tile_id: str
    facts: Mapping[str, Any]
    picture: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexStatus:
    """Which index and which model answer; a field is None where unknown."""

    num_tiles: int
    is_simulated: bool
    model: str
    run_id: str | None = None
    model_digest: str | None = None
    dataset_digest: str | None = None
    index_digest: str | None = None
    promoted_at: datetime | None = None
    indexed_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Points:
    """All tiles of an index, for maps: positions in ICRS degrees (n,), NaN where unknown, the first two principal
    components (n, 2) of the features, and facts by which a map colours its points, None where unknown.
    """

    tile_ids: Sequence[str]
    ra_deg: Floats
    dec_deg: Floats
    pca_n2: Floats
    labels: Mapping[str, Sequence[str | None]] = field(default_factory=dict)


class Answer(NamedTuple):
    """One page of hits, and the index that found them."""

    hits: Hits
    status: IndexStatus


class SearchEngine(Protocol):
    """A search over the tiles of one index. All methods may be called by several threads."""

    def answer(self, query: Query) -> Answer:
        """Find the hits of one page."""
        ...

    def tile(self, tile_id: str) -> TileRecord:
        """Return what is known of a tile; an unknown id raises a SearchError."""
        ...

    def status(self) -> IndexStatus:
        """Return which index and model answer, at once."""
        ...

    def points(self) -> Points:
        """Return the positions and the principal components of all tiles."""
        ...

    def facets(self) -> Mapping[str, Sequence[tuple[Any, int]]]:
        """Return the values that filters can have."""
        ...

    def occlusion(self, tile_id: str, text: str) -> Occlusion:
        """Find the parts of a tile that make it similar to a text."""
        ...

    def phrases(self, tile_id: str) -> Mapping[str, Sequence[tuple[str, float]]]:
        """Return the phrases nearest to a tile."""
        ...

    def resolve_target(self, name: str, radius_deg: float | None = None) -> Cone:
        """Turn a place into a cone; an unknown one raises a SearchError."""
        ...
