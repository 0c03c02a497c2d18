"""A search that also describes tiles and its index, for pages: details, maps, values of filters, nearest phrases."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from hubbleclip.catalog.catalog import read_catalog
from hubbleclip.core.errors import SearchError
from hubbleclip.core.layout import Layout
from hubbleclip.evaluation.metrics.vocabulary import find_nearest, read_vocabulary
from hubbleclip.search.current import Opened
from hubbleclip.search.engine import Search
from hubbleclip.search.feature_map import read_map
from hubbleclip.search.query import Query
from hubbleclip.search.server.occlusion import Occlusion, cover_squares, occlusion_of
from hubbleclip.search.server.protocol import Answer, IndexStatus, Points, TileRecord
from hubbleclip.search.stores.base import rows_of

Result = TypeVar("Result")
FACETS = ("instrument", "band", "category", "cycle", "split")
LABELS = ("instrument", "category")
"""Facts by which the map of the features colours its points."""
NUM_PHRASES, PHRASE_BATCH = 5, 64


def once_per_state(function: Callable[[Opened], Result]) -> Callable[[Opened], Result]:
    """Keep the result of a function for each state of the index, which never changes, as long as the
    state is in use.
    """
    results: WeakKeyDictionary[Opened, Result] = WeakKeyDictionary()

    def kept(opened: Opened) -> Result:
        if opened not in results:
            results[opened] = function(opened)
        return results[opened]

    return kept


class Explorer(Search):
    """A `Search` with what the server shows beside hits; it satisfies the server's `SearchEngine`.

    Parameters
    ----------
    layout, asks_sesame
        As for `Search`; by default, no request leaves the machine.

    """

    def __init__(self, layout: Layout, *, asks_sesame: bool = False) -> None:
        self._status_of, self._points_of = once_per_state(self._read_status), once_per_state(self._read_points)
        super().__init__(layout, asks_sesame=asks_sesame)

    def tile(self, tile_id: str) -> TileRecord:
        """See `SearchEngine.tile`."""
        with read_catalog(self._layout) as catalog:
            rows = catalog.named_query("tile_details", tile_id=tile_id)
        if not rows:
            raise SearchError(f"there is no tile {tile_id!r}")
        return TileRecord(tile_id=tile_id, facts=rows[0], picture=self._layout.existing_tile(tile_id))

    def answer(self, query: Query) -> Answer:
        """See `SearchEngine.answer`."""
        opened = self._now()
        return Answer(self._answer(opened, query), self._status_of(opened))

    def status(self) -> IndexStatus:
        """See `SearchEngine.status`. No new index is opened, which would take seconds."""
        return self._status_of(self._opened)

    def points(self) -> Points:
        """See `SearchEngine.points`."""
        return self._points_of(self._now())

    def facets(self) -> Mapping[str, Sequence[tuple[Any, int]]]:
        """See `SearchEngine.facets`."""
        return _facets(self._now())

    def occlusion(self, tile_id: str, text: str) -> Occlusion:
        """See `SearchEngine.occlusion`."""
        picture, model = self.tile(tile_id).picture, self._now().model
        try:
            image_yx = model.decode(picture.read_bytes())
        except (OSError, SyntaxError, ValueError) as error:
            raise SearchError(f"the picture of tile {tile_id} cannot be read on this machine") from error
        return occlusion_of(model.embed_images(list(cover_squares(image_yx))) @ model.embed_text(text))

    def phrases(self, tile_id: str) -> Mapping[str, Sequence[tuple[str, float]]]:
        """See `SearchEngine.phrases`."""
        opened = self._now()
        (row,) = rows_of(opened.store.tile_ids, [tile_id])
        if row is None:
            return {}
        feat_1d = opened.store.features([row]).astype(np.float64)
        found = {}
        for name, (texts, feat_pd) in _vocabularies(opened).items():
            matches = find_nearest(feat_1d, feat_pd, NUM_PHRASES)[0]
            found[name] = [(texts[match.index], match.score) for match in matches]
        return found

    def _open(self, former: Opened | None) -> Opened:
        """Open index and catalog, and read their status at once: a later catalog would not fit this index."""
        opened = super()._open(former)
        self._status_of(opened)
        return opened

    def _read_status(self, opened: Opened) -> IndexStatus:
        """Read the status of the state of the index that was just opened."""
        run_id = self._layout.absolute(opened.current.run).name
        with read_catalog(self._layout) as catalog:
            (row,) = catalog.named_query("index_status", run_id=run_id)
        indexed_s = self._layout.current_index.stat().st_mtime
        return IndexStatus(
            num_tiles=len(opened.facts.row_n),
            run_id=run_id,
            model_digest=opened.current.model_digest,
            indexed_at=datetime.fromtimestamp(indexed_s, UTC),
            **(row | {"model": row["model"] or "unknown model"}),
        )

    def _read_points(self, opened: Opened) -> Points:
        """Read the positions of the tiles of a state on both maps."""
        ra_deg, dec_deg, _ = opened.facts.positions()
        return Points(
            tile_ids=opened.store.tile_ids.to_pylist(),
            ra_deg=ra_deg,
            dec_deg=dec_deg,
            pca_n2=read_map(self._layout, opened.current.map_digest, opened.store),
            labels={name: opened.facts.labels(name).tolist() for name in LABELS},
        )


@once_per_state
def _facets(opened: Opened) -> Mapping[str, Sequence[tuple[Any, int]]]:
    return {name: opened.facts.value_counts(name) for name in FACETS}


@once_per_state
def _vocabularies(opened: Opened) -> Mapping[str, tuple[Sequence[str], npt.NDArray[np.float64]]]:
    """Embed the phrases of both vocabularies."""
    from hubbleclip.training.embeddings import embed_texts  # noqa: PLC0415 - imports torch: seconds

    vocabulary = read_vocabulary()
    lists = {"objects": vocabulary["object_classes"], "hypotheses": vocabulary["science_hypotheses"]}
    model = opened.model.load()
    return {name: (texts, embed_texts(model, list(texts), PHRASE_BATCH)) for name, texts in lists.items()}
