"""What answers searches: the file that names the model, its run and the vector store; and these, opened."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hubbleclip.catalog.tile_search import TileFacts
from hubbleclip.core.errors import SearchError
from hubbleclip.core.io import write_bytes
from hubbleclip.core.layout import Layout
from hubbleclip.dataset.manifest import description_bytes, is_intact
from hubbleclip.search.embedding import QueryModel
from hubbleclip.search.query import GroupBy
from hubbleclip.search.sky import Sky, patch_numbers
from hubbleclip.search.stores.base import VectorStore
from hubbleclip.search.stores.embedded import EmbeddedStore

NOT_WHOLE = "the search index has {} of {} tiles: run `hubbleclip index`, or wait until it ends"
NO_INDEX = "there is no search index: run `hubbleclip index` first (after `hubbleclip pipeline`)"


@dataclass(frozen=True, slots=True, kw_only=True)
class CurrentIndex:
    """What answers searches.

    `run` is the path of the run in the form in which the catalog stores paths. `store` and `url` are the settings of
    the vector store. `tiles` holds the settings of the tiles, so that a FITS file is cut as the archive's files are.
    `num_tiles` is the number of tiles in the finished index: a store with fewer is being rebuilt. `map_digest` names
    the map of the features.
    """

    model_digest: str
    run: str
    store: str
    url: str
    tiles: dict[str, Any]
    num_tiles: int = 1
    map_digest: str = ""


def read_current(layout: Layout) -> CurrentIndex:
    """Read what answers searches."""
    path = layout.current_index
    try:
        text = path.read_bytes()
        if not is_intact(text):
            raise ValueError("its hash is wrong")
        facts = json.loads(text)
        return CurrentIndex(**{one.name: facts[one.name] for one in fields(CurrentIndex) if one.name in facts})
    except FileNotFoundError as error:
        raise SearchError(NO_INDEX) from error
    except (OSError, ValueError, TypeError) as error:
        raise SearchError(f"{path} is damaged: delete it and run `hubbleclip index`") from error


def write_current(layout: Layout, current: CurrentIndex) -> None:
    """Replace the file atomically, if it changes, and delete what a killed run has left of it."""
    for leftover in layout.current_index.parent.glob(f".{layout.current_index.name}.*.tmp"):
        leftover.unlink()
    text = description_bytes(asdict(current))
    if not layout.current_index.is_file() or layout.current_index.read_bytes() != text:
        write_bytes(layout.current_index, text)


def _open_embedded(layout: Layout, url: str, model_digest: str) -> VectorStore:
    return EmbeddedStore(Path(url) / model_digest if url else layout.model_index(model_digest), model_digest)


STORES = {"embedded": _open_embedded}
"""Functions that open a vector store, by the value of the setting `index.store`."""


def open_store(layout: Layout, name: str, url: str, model_digest: str) -> VectorStore:
    """Open a vector store for reading and appending."""
    if name not in STORES:
        raise SearchError(f"index.store is {name!r}: use one of {', '.join(STORES)}")
    return STORES[name](layout, url, model_digest)


def open_current(layout: Layout, current: CurrentIndex) -> VectorStore:
    """Open the vector store that answers searches."""
    store = open_store(layout, current.store, current.url, current.model_digest)
    num_tiles = len(store.tile_ids)
    if num_tiles < max(1, current.num_tiles):
        store.close()
        raise SearchError(NOT_WHOLE.format(num_tiles, current.num_tiles))
    return store


@dataclass(frozen=True, kw_only=True, eq=False)
class Opened:
    """One state of index and catalog; `stamp` changes when either is replaced."""

    stamp: object
    current: CurrentIndex
    store: VectorStore
    facts: TileFacts
    model: QueryModel

    @property
    def num_rows(self) -> int:
        """Number of rows of the index."""
        return len(self.store.tile_ids)

    @cached_property
    def sky(self) -> Sky:
        """Positions of all tiles."""
        return Sky.of(*self.facts.positions())

    @cached_property
    def patch_n(self) -> npt.NDArray[np.int64]:
        """Number of each row's patch of sky; -1 for a tile without a position."""
        return patch_numbers(*self.facts.positions()[:2])

    def groups(self, group_by: GroupBy) -> npt.NDArray[np.int64]:
        """Return the group of each row."""
        if group_by is GroupBy.NONE:
            return np.full(self.num_rows, -1)
        return self.facts.proposal_group_n if group_by is GroupBy.PROPOSAL else self.patch_n
