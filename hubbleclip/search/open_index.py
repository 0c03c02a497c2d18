"""The open index, and the file `current.json`, which names the model, run and vector store that answer searches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hubbleclip.catalog.catalog import read_catalog
from hubbleclip.catalog.tile_filters import FILTERS
from hubbleclip.catalog.tile_search import TileFacts
from hubbleclip.core.errors import SearchError
from hubbleclip.core.io import write_bytes
from hubbleclip.core.layout import Layout
from hubbleclip.core.vectors import unit_vectors
from hubbleclip.dataset.manifest import description_bytes
from hubbleclip.evaluation.maps import principal_axes
from hubbleclip.evaluation.metrics.vocabulary import read_vocabulary
from hubbleclip.search.embedding import QueryModel
from hubbleclip.search.records import GroupBy, IndexStatus, NumberedLabels, Points, Sort
from hubbleclip.search.sky import patch_numbers
from hubbleclip.search.stores.base import Mask, VectorStore, file_stamp, read_intact
from hubbleclip.search.stores.embedded import EmbeddedStore

Floats64 = npt.NDArray[np.float64]
PHRASE_BATCH = 64
LABELS = ("instrument", "category")
"""Filters whose values determine the colours of the points on the map of the features."""
MAX_MAPPED, MAX_FITTED, CHUNK_ROWS = 50_000, 5_000, 4_096
"""Limits of the map of the features: tiles on the map, tiles that define the axes, and rows read at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CurrentIndex:
    """Content of `current.json`: the model and the vector store that answer searches.

    `run` is the path of the run, relative to the data folder if the run is in this folder. `store` is the store's name.
    `tiles` has the tile settings of the index; a FITS file in a query is cut into tiles with the same settings.
    `num_tiles` is the number of tiles in the finished index. A store with fewer tiles is being rebuilt.
    """

    model_digest: str
    run: str
    store: str
    tiles: dict[str, Any]
    num_tiles: int


def read_current(layout: Layout) -> CurrentIndex:
    """Read `current.json`."""
    try:
        return read_intact(
            layout.current_index,
            "delete it and run `hubbleclip index`",
            lambda facts: CurrentIndex(**{one.name: facts[one.name] for one in fields(CurrentIndex)}),
        )
    except FileNotFoundError as error:
        raise SearchError("there is no search index: run `hubbleclip index` (after `hubbleclip pipeline`)") from error


def write_current(layout: Layout, current: CurrentIndex) -> None:
    """Replace `current.json` atomically if it changes, and delete the temporary files of killed processes."""
    for leftover in layout.current_index.parent.glob(f".{layout.current_index.name}.*.tmp"):
        leftover.unlink()
    text = description_bytes(asdict(current))
    if not layout.current_index.is_file() or layout.current_index.read_bytes() != text:
        write_bytes(layout.current_index, text)


STORES: Mapping[str, Callable[[Path, str], VectorStore]] = {"embedded": EmbeddedStore}
"""Functions that open a vector store, by store name. Arguments: folder of the store, and digest of the model."""
STORE = "embedded"
"""Name of the store of new indexes."""


def open_store(layout: Layout, model_digest: str, name: str = STORE) -> VectorStore:
    """Open a vector store for reading and appending."""
    if name not in STORES:
        raise SearchError(f"this version cannot open the index in a store {name!r}: run `hubbleclip index`")
    return STORES[name](layout.model_index(model_digest), model_digest)


@dataclass(frozen=True, kw_only=True, eq=False)
class OpenIndex:
    """Index and catalog in their state at the time of opening; `stamp` is the value of `stamp_of` at that time."""

    layout: Layout
    stamp: object
    current: CurrentIndex
    status: IndexStatus
    store: VectorStore
    facts: TileFacts
    model: QueryModel
    chance: dict[int, float] = field(default_factory=dict)
    """Cached score thresholds, by the number of words in a text; `hubbleclip.search.advice` computes and uses them."""

    def is_newest(self) -> bool:
        """Whether the catalog and the index have not been replaced since this state was opened."""
        return stamp_of(self.layout) == self.stamp and self.store.is_current()

    @cached_property
    def xyz_n3(self) -> Floats64:
        """Unit vectors (n, 3) to all tiles."""
        return unit_vectors(*self.facts.positions[:2])

    @cached_property
    def patch_n(self) -> npt.NDArray[np.int64]:
        """Number of each row's patch of sky (HEALPix cell); -1 if unknown. Only patches with tiles are numbered."""
        return patch_numbers(*self.facts.positions[:2])

    @cached_property
    def orders(self) -> dict[Sort, npt.NDArray[np.int64]]:
        """Rank of each row, from 0, in the order by date (newest first) and by exposure time (longest first)."""
        columns = {Sort.DATE: "observed_at", Sort.EXPOSURE: "exposure_s"}
        places = {sort: np.zeros(len(self.store.tile_ids), np.int64) for sort in columns}
        for sort, column in columns.items():
            places[sort][self.facts.order(column)] = np.arange(len(self.facts.row_n))
        return places

    def groups(self, group_by: GroupBy) -> npt.NDArray[np.int64]:
        """Return the number of the group of each row; -1 for a row without a group."""
        if group_by is GroupBy.NONE:
            return np.full(len(self.store.tile_ids), -1)
        return self.facts.proposal_group_n if group_by is GroupBy.PROPOSAL else self.patch_n

    @cached_property
    def values(self) -> dict[str, tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], list[Any]]]:
        """By filter name: rows (k,), the values of these rows as indices (k,) into a list, and the list."""
        found = {one.name: self.facts.values(one.name) for one in FILTERS if one.values}
        numbered = {name: (row_k, *np.unique(value_k, return_inverse=True)) for name, (row_k, value_k) in found.items()}
        return {name: (row_k, number_k, values.tolist()) for name, (row_k, values, number_k) in numbered.items()}

    @cached_property
    def _map_n2(self) -> Floats64:
        """First two principal components (n, 2) of the features, for evenly spaced rows; NaN for the other rows."""
        num = len(self.store.tile_ids)
        xy_n2 = np.full((num, 2), np.nan)
        fitted, mapped = (np.arange(0, num, max(1, -(-num // most))) for most in (MAX_FITTED, MAX_MAPPED))
        if len(fitted) < 3:
            return xy_n2
        mean_d, axes_2d, _ = principal_axes(self.store.features(fitted).astype(np.float64))
        for start in range(0, len(mapped), CHUNK_ROWS):
            rows = mapped[start : start + CHUNK_ROWS]
            xy_n2[rows] = (self.store.features(rows).astype(np.float64) - mean_d) @ axes_2d.T
        return xy_n2

    def points(self, mask_n: Mask) -> Points:
        """Return the points of the map that a mask selects, with the labels by which they are coloured."""
        rows = np.flatnonzero(np.isfinite(self._map_n2).all(axis=1) & mask_n)  # JSON cannot hold NaN
        x, y = self._map_n2[rows].round(4).T.tolist()
        labels = {name: number_labels(self._labels(name)[rows].tolist()) for name in LABELS}
        return Points(tile_ids=self.store.tile_ids.take(rows).to_pylist(), x=x, y=y, labels=labels)

    def _labels(self, name: str) -> npt.NDArray[np.object_]:
        """Return each row's value of a filter; None where unknown."""
        row_k, number_k, values = self.values[name]
        label_n = np.full(len(self.store.tile_ids), None, object)
        label_n[row_k] = np.array(values, object)[number_k]
        return label_n

    @cached_property
    def vocabularies(self) -> dict[str, tuple[Sequence[str], Floats64]]:
        """Phrases of the vocabularies `objects` and `hypotheses`, and the features (n, d) of the phrases."""
        from hubbleclip.training.embeddings import embed_texts  # noqa: PLC0415 - imports torch: seconds

        vocabulary, model = read_vocabulary(), self.model.load()
        lists = {"objects": vocabulary["object_classes"], "hypotheses": vocabulary["science_hypotheses"]}
        return {name: (texts, embed_texts(model, list(texts), PHRASE_BATCH)) for name, texts in lists.items()}


def open_index(layout: Layout, former: OpenIndex | None = None) -> OpenIndex:
    """Open index and catalog; a model that did not change stays loaded."""
    stamp = stamp_of(layout)
    current = read_current(layout)
    store = open_store(layout, current.model_digest, current.store)
    num_tiles = len(store.tile_ids)
    if num_tiles < max(1, current.num_tiles):
        store.close()
        raise SearchError(
            f"the search index has {num_tiles} of {current.num_tiles} tiles: run `hubbleclip index`, or wait for it"
        )
    is_same = former is not None and former.current.model_digest == current.model_digest
    facts = TileFacts(layout, store.tile_ids)
    model = former.model if former and is_same else QueryModel(layout.absolute(current.run))
    status = _read_status(layout, current, len(facts.row_n))
    return OpenIndex(layout=layout, stamp=stamp, current=current, status=status, store=store, facts=facts, model=model)


def stamp_of(layout: Layout) -> object:
    """Return a value that changes when the catalog or the file `current.json` is replaced."""
    return file_stamp(layout.catalog), file_stamp(layout.current_index)


def _read_status(layout: Layout, current: CurrentIndex, num_tiles: int) -> IndexStatus:
    """Make the status of an index, with the catalog's data on the model and its promotion."""
    run_id = layout.absolute(current.run).name
    with read_catalog(layout) as catalog:
        (row,) = catalog.named_query("index_status", run_id=run_id)
    promoted_at = row["promoted_at"] and row["promoted_at"].replace(tzinfo=UTC)
    return IndexStatus(
        num_tiles=num_tiles,
        run_id=run_id,
        model_digest=current.model_digest,
        indexed_at=datetime.fromtimestamp(layout.current_index.stat().st_mtime, UTC),
        **(row | {"model": row["model"] or "unknown model", "promoted_at": promoted_at}),
    )


def number_labels(labels: Sequence[str | None]) -> NumberedLabels:
    """Replace each label by its index among the distinct labels, the most frequent first; -1 for a missing label."""
    values = [value for value, _ in Counter(label for label in labels if label is not None).most_common()]
    number_of = {value: number for number, value in enumerate(values)} | {None: -1}
    return NumberedLabels(values=values, numbers=[number_of[label] for label in labels])
