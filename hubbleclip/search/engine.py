"""Search the indexed tiles: apply the filters, score tiles by features and words, group the hits and make pages.

Filters and words are looked up in the published snapshot of the catalog, and features are scanned in the vector store.
Snapshot and store are opened for reading only. If they are replaced, the open files stay valid, and the next search
opens the new files.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from hubbleclip.core.errors import HubbleclipError, NotFoundError, SearchError
from hubbleclip.core.layout import DIGEST, Layout
from hubbleclip.evaluation.maps import cover_squares, similarity_drops
from hubbleclip.evaluation.metrics.vocabulary import find_nearest
from hubbleclip.search.advice import notes_on
from hubbleclip.search.open_index import Floats64, OpenIndex, open_index
from hubbleclip.search.params import SearchParams, as_written, checked
from hubbleclip.search.ranking import FUSED_DEPTH, Query
from hubbleclip.search.records import Cone, GroupBy, Hits, IndexStatus, Mode, Points, Sort, TileRecord
from hubbleclip.search.sky import Sesame, find_cone
from hubbleclip.search.stores.base import rows_of

if TYPE_CHECKING:
    from hubbleclip.config.settings import Settings
    from hubbleclip.search.embedding_process import TextsAhead
    from hubbleclip.search.export import HitTable

log = logging.getLogger(__name__)
COUNTED = 2_000
"""Maximum number of hits that are counted, because counting is slow. A search with more hits gives a lower bound."""
RETRY_S = 5.0
"""Wait (s) after a failed attempt to open a new index, because an attempt with a large index takes seconds."""
NUM_PHRASES = 5
NUM_SQUARES = 7
"""Number of squares along each side of a tile. A square of a tile of 224 px is 32 px wide, which is a whole number of
patches of a ViT-B/16 or ViT-B/32."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Occlusion:
    """How the similarity of a tile to a text changes when one square of the tile is covered.

    Attributes
    ----------
    similarity
        Cosine similarity of the whole tile.
    drop_yx
        Decrease of the similarity for each covered square, (`NUM_SQUARES`, `NUM_SQUARES`). The first square is at the
        top left of the picture. A negative value means that the similarity rises.

    """

    similarity: float
    drop_yx: Floats64


class Search:
    """Search over the tiles of one profile; any number of threads may call one object.

    Parameters
    ----------
    layout
        Paths of the profile.
    asks_sesame
        Whether a place that the catalog does not have is looked up with Sesame, a name resolver on the internet.
    is_asked_ahead
        Whether a search raises UnaskedNameError instead of sending a request to Sesame. Then the caller sends the
        request and searches again.

    """

    def __init__(self, layout: Layout, *, asks_sesame: bool = True, is_asked_ahead: bool = False) -> None:
        self._layout = layout
        self.sesame = Sesame(is_asked_ahead=is_asked_ahead)
        self._ask_elsewhere = self.sesame.find if asks_sesame else None
        self._refreshing = threading.Lock()
        self._retry_at = 0.0
        self._opened = open_index(layout)

    @classmethod
    def open(cls, place: str | Path | Settings) -> Search:
        """Open the search of a profile.

        Parameters
        ----------
        place
            Folder of the profile, such as `data/demo`, or the settings of the profile.

        Returns
        -------
        Search
            The search. The model is loaded when the first query needs it.

        Raises
        ------
        SearchError
            If there is no index, or it is damaged.
        CatalogError
            If there is no catalog.

        """
        root = Path(place) if isinstance(place, str | Path) else getattr(place, "root", None)
        if root is None:
            raise SearchError(f"open a folder or settings, not {type(place).__name__}")
        return cls(Layout(root))

    @property
    def opened(self) -> OpenIndex:
        """The newest state of index and catalog.

        One thread opens a new state, while the other threads use the old state, whose files stay valid. If the new
        state cannot be opened, the old state continues to answer, and the next attempt follows after `RETRY_S`.
        """
        opened = self._opened
        if opened.is_newest():
            return opened
        if time.monotonic() >= self._retry_at and self._refreshing.acquire(blocking=False):
            try:
                self._opened = open_index(self._layout, opened)
            except (HubbleclipError, OSError) as error:
                self._retry_at = time.monotonic() + RETRY_S
                log.warning("the new index cannot be opened, searches use the former index: %s", error)
            finally:
                self._refreshing.release()
        return self._opened

    @property
    def selections(self) -> Path:
        """File of the selections, which are named lists of tiles that users saved."""
        return self._layout.selections

    @property
    def num_tiles(self) -> int:
        """Number of tiles that can be found."""
        return len(self.opened.facts.row_n)

    def load_model(self) -> None:
        """Load the model now, so that the first query need not wait."""
        self.opened.model.load()

    @property
    def has_model(self) -> bool:
        """Whether the model is loaded."""
        return self._opened.model.is_loaded

    @property
    def is_damaged(self) -> bool:
        """Whether a file of the open index is truncated, and opening the index again did not help."""
        return not (self._opened.store.is_whole() or self.opened.store.is_whole())

    def expect(self, ahead: TextsAhead) -> None:
        """Take the features of some texts from another process, if that process uses the model of this index.

        Parameters
        ----------
        ahead
            Texts that the other process embeds.

        """
        opened = self.opened
        if opened.current.run == ahead.run:
            opened.model.ahead = ahead

    def run(self, params: SearchParams) -> Hits:
        """Answer a search.

        Parameters
        ----------
        params
            Terms, filters, mode, groups and page.

        Returns
        -------
        Hits
            The page of hits. Pages of one search do not overlap as long as index and catalog stay the same.

        Raises
        ------
        SearchError
            If a term is unknown or unreadable, or the search is not possible.

        """
        if not isinstance(params, SearchParams):
            raise SearchError("run takes SearchParams only: give plain values to `text`, `like` or `find`")
        query = self._asked(params)
        params, ranker = query.params, query.ranker
        end = params.offset + params.k
        wanted = max(COUNTED, end + 1)
        ranking, kept = query.ranked(end + 1, wanted)
        is_cut = params.sort is not Sort.SCORE and bool(ranker.terms) and ranker.num_admitted > FUSED_DEPTH
        return Hits(
            hits=query.hits(ranking, kept[params.offset : end]),
            num_hits=len(kept),
            is_counted=len(kept) < wanted and ranking.is_complete and not is_cut,
            num_admitted=ranker.num_admitted,
            has_more=len(kept) > end,
            params=params,
            notes=tuple(notes_on(query)),
            index=query.opened.status,
        )

    def around(self, params: SearchParams, tile_id: str) -> tuple[str | None, str | None]:
        """Find the hits before and after a hit.

        Parameters
        ----------
        params
            A search.
        tile_id
            Id of one of its hits.

        Returns
        -------
        tuple
            Tile ids; None at the ends, and for a tile that is no hit.

        """
        query = self._asked(params)
        ranking, kept = query.ranked(COUNTED, COUNTED)
        ids = query.opened.store.tile_ids.take(ranking.row_n[kept]).to_pylist()
        if tile_id not in ids:
            return None, None
        at = ids.index(tile_id)
        return ids[at - 1] if at else None, ids[at + 1] if at + 1 < len(ids) else None

    def _asked(self, params: SearchParams | None) -> Query:
        """Prepare a search (by default, one of all tiles), and convert filters typed in the texts to parameters."""
        return Query(opened=self.opened, params=params or SearchParams(), elsewhere=self._ask_elsewhere).understood()

    def text(self, text: str, k: int = 20, *, mode: Mode | str = Mode.BOTH, **filters: Any) -> HitTable:
        """Find tiles by a text.

        Parameters
        ----------
        text
            Text of at most 4,000 characters.
        k
            Maximum number of hits.
        mode
            `model`, `words` or `both`.
        **filters
            Filters by name, such as `instrument="WFC3"` or `exposure_s_min=100`; docs/search.md lists them.

        Returns
        -------
        HitTable
            Table of hits, best first, with pictures.

        """
        return self.find(q=as_written(text), k=k, mode=mode, **filters)

    def like(self, tile_id: str, k: int = 20, **filters: Any) -> HitTable:
        """Find tiles that look like a tile.

        Parameters
        ----------
        tile_id
            Id of an indexed tile.
        k, **filters
            As in `text`.

        Returns
        -------
        HitTable
            Table of hits, best first, with pictures.

        """
        return self.find(like=tile_id, k=k, mode=Mode.MODEL, **filters)

    def image(self, path: str | Path, k: int = 20, **filters: Any) -> HitTable:
        """Find tiles that look like a picture or a FITS file.

        Parameters
        ----------
        path
            PNG, JPEG or FITS file.
        k, **filters
            As in `text`.

        Returns
        -------
        HitTable
            Table of hits, best first, with pictures.

        """
        return self.find(image=as_written(str(path)), k=k, mode=Mode.MODEL, **filters)

    def find(self, **parameters: Any) -> HitTable:
        """Find tiles by any parameters of a search.

        Parameters
        ----------
        **parameters
            Parameters of the search page, such as `q`, `not`, `like`, `k`, `page` and all filters. A single
            value may be given without a list. The default of `group` is `none`.

        Returns
        -------
        HitTable
            Table of hits, best first, with pictures.

        Raises
        ------
        ParameterError
            If a parameter is unknown or out of range.

        """
        from hubbleclip.search.export import hit_table  # noqa: PLC0415 - imports astropy, which others need not

        return hit_table(self.run(checked(SearchParams, {"group": GroupBy.NONE} | parameters)), self._layout)

    def save(self, hits: Hits, file: str | Path | IO[bytes]) -> None:
        """Write hits as Parquet with their facts, pictures and features.

        Parameters
        ----------
        hits
            A page of hits.
        file
            Path or open file to write. pandas and Hugging Face datasets can read the result.

        Raises
        ------
        SearchError
            If the index was rebuilt with another model, or lacks some of the hits.

        """
        from hubbleclip.search.export import write_images  # noqa: PLC0415 - imports astropy, which others need not

        opened = self.opened
        if opened.status.model_digest != hits.index.model_digest:
            raise SearchError("a new index has features of another model: search again")
        rows = [row for row in rows_of(opened.store.tile_ids, [hit.tile_id for hit in hits.hits]) if row is not None]
        if len(rows) < len(hits.hits):
            raise SearchError("a new index lacks some of the hits: search again")
        write_images(file, hits, opened.store.features(rows), self._layout)

    def resolve_target(self, name: str, radius_deg: float | None = None) -> Cone:
        """Find a place on the sky by its position or name.

        Parameters
        ----------
        name
            Name of a target in the catalog; a position such as `10.68 41.27`; a position and a radius, such as
            `10.68 41.27 0.5`; or, if `asks_sesame`, any name that Sesame knows.
        radius_deg
            Radius of the cone. The default is the extent of the target's observations, but at least 0.1.

        Returns
        -------
        Cone
            Circle around the place.

        Raises
        ------
        SearchError
            If nothing has this name.

        """
        return find_cone(str(name), radius_deg, self.opened.facts.target_cone, self._ask_elsewhere)

    def tile(self, tile_id: str) -> TileRecord:
        """Read all facts that are known about a tile.

        Parameters
        ----------
        tile_id
            Id of a tile, indexed or not, or its first characters.

        Returns
        -------
        TileRecord
            Facts and picture.

        Raises
        ------
        NotFoundError
            If there is no such tile, or several ids begin with these characters.

        """
        found = self.opened.facts.details(str(tile_id))
        if len(found) > 1:
            raise NotFoundError(f"several tiles begin with {tile_id!r}: give more characters")
        if not found:
            raise NotFoundError(f"there is no tile {str(tile_id)[:64]!r}")
        (facts,) = found
        path, tile_id = facts.pop("product_path"), facts["tile_id"]
        picture = self._layout.existing_tile(tile_id)
        product = self._layout.absolute(path) if path else None
        return TileRecord(tile_id=tile_id, facts=facts, picture=picture, product=product)

    def picture(self, tile_id: str) -> Path:
        """Find the picture of a tile without a catalog query, which takes longer than reading the picture.

        Parameters
        ----------
        tile_id
            Id of a tile, indexed or not.

        Returns
        -------
        Path
            PNG or JPEG file.

        Raises
        ------
        NotFoundError
            If this machine has no such picture.

        """
        path = self._layout.existing_tile(tile_id) if DIGEST.fullmatch(str(tile_id)) else None
        if path is None or not path.is_file():
            raise NotFoundError(f"this machine has no picture of a tile {str(tile_id)[:64]!r}")
        return path

    @property
    def status(self) -> IndexStatus:
        """Status of the open index and its model. A newer index is not opened, because opening takes seconds."""
        return self._opened.status

    def facets(self, params: SearchParams | None = None) -> dict[str, list[tuple[Any, int]]]:
        """List the values that filters can have.

        Parameters
        ----------
        params
            A search; by default, one that finds all tiles.

        Returns
        -------
        dict
            For each filter, pairs of a value and a number of tiles, the most frequent value first. The number counts
            the tiles that the search would find if the filter had only this value.

        """
        query, found = self._asked(params), {}
        for name, (row_k, number_k, values) in query.opened.values.items():
            chosen = getattr(query.params, name)
            others = replace(query, params=query.params.model_copy(update={name: []})) if chosen else query
            num_v = np.bincount(number_k[others.found_n[row_k]], minlength=len(values))
            shown = [(value, int(num)) for value, num in zip(values, num_v, strict=True) if num or value in chosen]
            found[name] = sorted(shown, key=lambda one: -one[1])
        return found

    def positions(self, params: SearchParams | None = None) -> tuple[Floats64, Floats64]:
        """Return the sky positions of all tiles that a search finds.

        Parameters
        ----------
        params
            A search; by default, one that finds all tiles.

        Returns
        -------
        tuple of arrays
            Right ascension (n,) and declination (n,), ICRS, in degrees; NaN where unknown.

        """
        query = self._asked(params)
        ra_n, dec_n, _ = query.opened.facts.positions
        return ra_n[query.found_n], dec_n[query.found_n]

    def points(self, params: SearchParams | None = None) -> Points:
        """Return the positions of found tiles on the map of the features.

        Parameters
        ----------
        params
            A search; by default, one that finds all tiles.

        Returns
        -------
        Points
            At most 50,000 tiles. The coordinates are the first two principal components of the features.

        """
        query = self._asked(params)
        return query.opened.points(query.found_n)

    def occlusion(self, tile_id: str, text: str) -> Occlusion:
        """Find the parts of a tile that make it similar to a text.

        Parameters
        ----------
        tile_id
            Id of a tile.
        text
            Text of any length.

        Returns
        -------
        Occlusion
            Decrease of the similarity for each covered square.

        Raises
        ------
        SearchError
            If there is no such tile, or its picture cannot be read.

        """
        picture, model = self.tile(tile_id).picture, self.opened.model
        try:
            image_yx = model.decode(picture.read_bytes())
        except (OSError, SyntaxError, ValueError) as error:
            raise SearchError(f"the picture of tile {tile_id} cannot be read on this machine") from error
        similarity_n = model.embed_images(list(cover_squares(image_yx, NUM_SQUARES))) @ model.embed_text(text)
        return Occlusion(similarity=float(similarity_n[0]), drop_yx=similarity_drops(similarity_n))

    def phrases(self, tile_id: str) -> dict[str, list[tuple[str, float]]]:
        """Find the phrases nearest to a tile.

        Parameters
        ----------
        tile_id
            Id of a tile.

        Returns
        -------
        dict
            Phrases with their cosine similarities, best first, by vocabulary (`objects` or `hypotheses`). The
            dictionary is empty for a tile that is not indexed.

        """
        opened = self.opened
        (row,) = rows_of(opened.store.tile_ids, [str(tile_id)])
        if row is None:
            return {}
        feat_1d = opened.store.features([row]).astype(np.float64)
        found = {}
        for name, (texts, feat_pd) in opened.vocabularies.items():
            matches = find_nearest(feat_1d, feat_pd, NUM_PHRASES)[0]
            found[name] = [(texts[match.index], match.score) for match in matches]
        return found
