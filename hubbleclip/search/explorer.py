"""A search that also describes tiles and its index, for pages: details, maps, values of filters, nearest phrases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from hubbleclip.catalog.catalog import read_catalog
from hubbleclip.core.errors import SearchError
from hubbleclip.evaluation.metrics.vocabulary import find_nearest, read_vocabulary
from hubbleclip.search.engine import Opened, Search
from hubbleclip.search.server.occlusion import Occlusion, cover_squares, occlusion_of
from hubbleclip.search.server.protocol import IndexStatus, Points, TileRecord
from hubbleclip.search.store import rows_of

FACETS = ("instrument", "band", "category", "cycle", "split")
LABELS = ("instrument", "category")
"""Facts by which the map of the features colours its points."""
NUM_PHRASES, PHRASE_BATCH = 5, 64
MAX_MAPPED, MAX_FITTED, CHUNK_ROWS = 50_000, 5_000, 4_096
"""Tiles that have principal components, tiles from which these are computed, and rows that are read at once."""


class Explorer(Search):
    """A `Search` with what the server shows beside hits; it satisfies the server's `SearchEngine`."""

    def tile(self, tile_id: str) -> TileRecord:
        """See `SearchEngine.tile`."""
        with read_catalog(self._layout) as catalog:
            rows = catalog.named_query("tile_details", tile_id=tile_id)
        if not rows:
            raise SearchError(f"there is no tile {tile_id!r}")
        return TileRecord(tile_id=tile_id, facts=rows[0], picture=self._layout.existing_tile(tile_id))

    def status(self) -> IndexStatus:
        """See `SearchEngine.status`."""
        return _status(self, self._now())

    def points(self) -> Points:
        """See `SearchEngine.points`."""
        return _points(self._now())

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

    def place(self, name: str) -> tuple[float, float] | None:
        """See `SearchEngine.place`."""
        found = self._now().facts.target_cone(name)
        return found[:2] if found else None

    def read_status(self, opened: Opened) -> IndexStatus:
        """Read the status of one state of the index.

        Parameters
        ----------
        opened
            Index and catalog.

        Returns
        -------
        IndexStatus
            The status.

        """
        run_id = self._layout.absolute(opened.current.run).name
        with read_catalog(self._layout) as catalog:
            (row,) = catalog.named_query("index_status", run_id=run_id)
        indexed_s = self._layout.current_index.stat().st_mtime
        return IndexStatus(
            num_tiles=len(opened.facts.row_n), run_id=run_id, model_digest=opened.current.model_digest,
            indexed_at=datetime.fromtimestamp(indexed_s, UTC), **(row | {"model": row["model"] or "unknown model"}),
        )  # fmt: skip


# One state of the index is cached, because a state never changes and an old one must not be kept in memory.


@lru_cache(1)
def _status(search: Explorer, opened: Opened) -> IndexStatus:
    return search.read_status(opened)


@lru_cache(1)
def _facets(opened: Opened) -> Mapping[str, Sequence[tuple[Any, int]]]:
    return {name: opened.facts.value_counts(name) for name in FACETS}


@lru_cache(1)
def _vocabularies(opened: Opened) -> Mapping[str, tuple[Sequence[str], npt.NDArray[np.float64]]]:
    """Embed the phrases of both vocabularies."""
    from hubbleclip.evaluation.embed import embed_texts  # noqa: PLC0415 - imports torch: seconds

    vocabulary = read_vocabulary()
    lists = {"objects": vocabulary["object_classes"], "hypotheses": vocabulary["science_hypotheses"]}
    model = opened.model.load()
    return {name: (texts, embed_texts(model, list(texts), PHRASE_BATCH)) for name, texts in lists.items()}


@lru_cache(1)
def _points(opened: Opened) -> Points:
    """Project evenly spaced rows on their first two principal components; the other rows have NaN."""
    num = opened.num_rows
    pca_n2 = np.full((num, 2), np.nan)
    fitted = _evenly(num, MAX_FITTED)
    if len(fitted) > 2:
        feat_nd = opened.store.features(fitted).astype(np.float64)
        mean_d = feat_nd.mean(axis=0)
        axes_2d = np.linalg.svd(feat_nd - mean_d, full_matrices=False)[2][:2]
        # The sign of an axis is arbitrary; this choice is the same each time.
        axes_2d *= np.sign(axes_2d[np.arange(2), np.abs(axes_2d).argmax(axis=1)])[:, None]
        mapped = _evenly(num, MAX_MAPPED)
        for start in range(0, len(mapped), CHUNK_ROWS):
            rows = mapped[start : start + CHUNK_ROWS]
            pca_n2[rows] = (opened.store.features(rows).astype(np.float64) - mean_d) @ axes_2d.T
    ra_deg, dec_deg, _ = opened.facts.positions()
    labels = {name: opened.facts.labels(name).tolist() for name in LABELS}
    return Points(
        tile_ids=opened.store.tile_ids.to_pylist(), ra_deg=ra_deg, dec_deg=dec_deg, pca_n2=pca_n2, labels=labels
    )


def _evenly(num: int, most: int) -> npt.NDArray[np.int64]:
    """Return at most `most` of `num` rows, evenly spaced."""
    return np.arange(0, num, max(1, -(-num // most)))
