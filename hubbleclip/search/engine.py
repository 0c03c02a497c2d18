"""Search the indexed tiles: filters, then the scan of the features and the words, then groups and pages.

The filters are answered by the catalog's published snapshot, the scan by the vector store. Both are opened read-only
and stay valid while a flow replaces them; the next query after that opens the new ones.
"""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from hubbleclip.catalog.tile_search import TileFacts
from hubbleclip.core.errors import HubbleclipError, SearchError
from hubbleclip.core.layout import Layout
from hubbleclip.search.current import CurrentIndex, Opened, open_current, read_current
from hubbleclip.search.embedding import QueryModel
from hubbleclip.search.filters import admitted_rows
from hubbleclip.search.query import Cone, Filters, GroupBy, Hit, Hits, Mode, Query, Term, TermKind
from hubbleclip.search.ranking import Ranker, Ranking, first_of_groups, fold_near_duplicates
from hubbleclip.search.sky import ask_sesame, find_cone
from hubbleclip.search.stores.base import Mask

if TYPE_CHECKING:
    from hubbleclip.config.settings import Settings
    from hubbleclip.search.ahead import TextsAhead
    from hubbleclip.search.tables import HitTable

log = logging.getLogger(__name__)
MIN_DEPTH = 200
"""Smallest number of tiles that are ranked by the model for a page."""
DEPTH_FACTOR = 4
"""Factor by which more tiles are ranked when groups leave too few hits for a page."""
MAX_HITS = 10_000
"""Largest `offset + k`, which bounds time and memory."""
RETRY_S = 5.0
"""Seconds after which a new index that could not be opened is tried again; reading a large one takes seconds."""


class Search:
    """Search over the tiles of one profile; any number of threads may call one object.

    Parameters
    ----------
    layout
        Paths of the profile's files and folders.
    asks_sesame
        Whether Sesame, on the internet, is asked for the name of a place that the catalog does not have.

    """

    def __init__(self, layout: Layout, *, asks_sesame: bool = True) -> None:
        self._layout = layout
        self._asks_sesame = asks_sesame
        self._refreshing = threading.Lock()
        self._retry_at = 0.0
        self._opened = self._open(None)

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
        return cls(Layout(Path(place) if isinstance(place, str | Path) else place.root))

    def _stamp(self) -> object:
        """Return a value that changes when the catalog or the file `current.json` is replaced."""
        try:
            found = [path.stat() for path in (self._layout.catalog, self._layout.current_index)]
        except FileNotFoundError:
            return None
        return [(one.st_ino, one.st_mtime_ns, one.st_size) for one in found]

    def _open(self, former: Opened | None) -> Opened:
        """Open index and catalog; a model that did not change stays loaded."""
        stamp = self._stamp()
        current = read_current(self._layout)
        store = open_current(self._layout, current)
        is_same = former is not None and former.current.model_digest == current.model_digest
        model = former.model if former and is_same else QueryModel(self._layout.absolute(current.run))
        facts = TileFacts(self._layout, store.tile_ids)
        return Opened(stamp=stamp, current=current, store=store, facts=facts, model=model)

    def _now(self) -> Opened:
        """Return the newest state of index and catalog.

        One thread opens a new state while the others still use the old one, whose files stay valid. If the new one
        cannot be opened, the old one continues to answer, and the new one is tried again after `RETRY_S`.
        """
        opened = self._opened
        if self._stamp() == opened.stamp and opened.store.is_current():
            return opened
        if time.monotonic() >= self._retry_at and self._refreshing.acquire(blocking=False):
            try:
                self._opened = self._open(opened)
            except (HubbleclipError, OSError) as error:
                self._retry_at = time.monotonic() + RETRY_S
                log.warning("the new index cannot be opened, the former one answers: %s", error)
            finally:
                self._refreshing.release()
        return self._opened

    @property
    def current(self) -> CurrentIndex:
        """Which model and run answer."""
        return self._now().current

    @property
    def num_tiles(self) -> int:
        """Number of tiles that can be found."""
        return len(self._now().facts.row_n)

    def load_model(self) -> None:
        """Load the model now, so that the first query need not wait."""
        self._now().model.load()

    def expect(self, ahead: TextsAhead) -> None:
        """Take the features of texts from another process, if it has the model that answers.

        Parameters
        ----------
        ahead
            Texts that it embeds.

        """
        opened = self._now()
        if opened.current.run == ahead.run:
            opened.model.expect(ahead)

    def run(self, query: Query) -> Hits:
        """Answer a query.

        Parameters
        ----------
        query
            Terms, filters, mode, groups and page.

        Returns
        -------
        Hits
            The page of hits. Pages of one query do not overlap as long as index and catalog stay the same.

        Raises
        ------
        SearchError
            If a term is unknown or unreadable, or the query is not possible.

        """
        return self._answer(self._now(), query)

    def _answer(self, opened: Opened, query: Query) -> Hits:
        """Answer a query from one state of index and catalog; see `run`."""
        if query.k < 1 or query.offset < 0 or query.offset + query.k > MAX_HITS:
            raise SearchError(f"a page needs k of at least 1, and offset + k of at most {MAX_HITS}")
        mask_n = admitted_rows(opened.facts, query.filters, opened.num_rows)
        ranker = Ranker(opened, query, mask_n)
        group_n = opened.groups(query.group_by)
        depth = max(MIN_DEPTH, DEPTH_FACTOR * (query.offset + query.k))
        while True:
            ranking = ranker.best(depth)
            kept = _fold(opened, ranking, group_n, query)
            if len(kept) > query.offset + query.k or ranking.is_complete:
                break
            depth *= DEPTH_FACTOR
        page = kept[query.offset : query.offset + query.k]
        return Hits(
            hits=_hits(opened, ranking, page, group_n, mask_n),
            num_admitted=int(np.count_nonzero(mask_n)),
            has_more=len(kept) > query.offset + query.k,
        )

    def text(self, text: str, k: int = 20, *, mode: Mode | str = Mode.BOTH, instrument: str | None = None) -> HitTable:
        """Find tiles by a text.

        Parameters
        ----------
        text
            Text of any length.
        k
            Maximum number of hits.
        mode
            `model`, `words` or `both`.
        instrument
            Instrument such as `WFC3/UVIS` or `WFC3`; None means all.

        Returns
        -------
        HitTable
            Table of hits, best first, with pictures.

        """
        return self._table(Term(kind=TermKind.TEXT, value=text), k, instrument, Mode(mode))

    def like(self, tile_id: str, k: int = 20, *, instrument: str | None = None) -> HitTable:
        """Find tiles that look like a tile.

        Parameters
        ----------
        tile_id
            Id of an indexed tile.
        k, instrument
            As in `text`.

        Returns
        -------
        HitTable
            Table of hits, best first, with pictures.

        """
        return self._table(Term(kind=TermKind.TILE, value=tile_id), k, instrument, Mode.MODEL)

    def image(self, path: str | Path, k: int = 20, *, instrument: str | None = None) -> HitTable:
        """Find tiles that look like a picture or a FITS file.

        Parameters
        ----------
        path
            PNG, JPEG or FITS file.
        k, instrument
            As in `text`.

        Returns
        -------
        HitTable
            Table of hits, best first, with pictures.

        """
        return self._table(Term(kind=TermKind.IMAGE, value=str(path)), k, instrument, Mode.MODEL)

    def _table(self, term: Term, k: int, instrument: str | None, mode: Mode) -> HitTable:
        from hubbleclip.search.tables import hit_table  # noqa: PLC0415 - imports astropy, which other callers need not

        filters = Filters(instruments=(instrument,) if instrument else ())
        hits = self.run(Query(terms=(term,), filters=filters, mode=mode, k=k, group_by=GroupBy.NONE))
        return hit_table(hits, self._layout)

    def resolve_target(self, name: str, radius_deg: float | None = None) -> Cone:
        """Find a place on the sky by its position or name.

        Parameters
        ----------
        name
            Name of a target in the catalog; a position such as `10.68 41.27`; both and a radius, such as
            `10.68 41.27 0.5`; or, if `asks_sesame`, any name that Sesame knows.
        radius_deg
            Radius of the cone; by default 0.1, or large enough for all observations of the target.

        Returns
        -------
        Cone
            Circle around the place.

        Raises
        ------
        SearchError
            If nothing has this name.

        """
        return find_cone(name, radius_deg, self._now().facts.target_cone, ask_sesame if self._asks_sesame else None)


def _fold(opened: Opened, ranking: Ranking, group_n: npt.NDArray[np.int64], query: Query) -> list[int]:
    """Return the positions in a ranking that remain, up to one more than the page needs.

    They are the first of each group without near-duplicates of earlier ones; a list of what the filters admit, such as
    that of a cone search, keeps near-duplicates. Only as many positions are compared as are needed, and always from the
    first one, so that every page gives the same answer.
    """
    first_n = first_of_groups(group_n[ranking.row_n])
    num_compared = num_wanted = query.offset + query.k + 1
    if not query.terms:
        return [int(position) for position in first_n[:num_wanted]]
    while True:
        compared = first_n[:num_compared].tolist()
        rows = ranking.row_n[compared]
        folded = fold_near_duplicates(rows.tolist(), opened.store.features(rows), opened.sky)
        kept = [position for position, earlier in zip(compared, folded, strict=True) if earlier is None]
        if len(kept) >= num_wanted or num_compared >= len(first_n):
            return kept[:num_wanted]
        num_compared *= 2


def _hits(
    opened: Opened, ranking: Ranking, page: list[int], group_n: npt.NDArray[np.int64], mask_n: Mask
) -> tuple[Hit, ...]:
    """Make the hits of a page."""
    rows = ranking.row_n[page]
    facts = opened.facts.facts(rows.tolist())
    in_group = np.bincount(group_n[mask_n & (group_n >= 0)], minlength=1)
    return tuple(
        Hit(
            tile_id=fact.pop("tile_id"),
            score=float(ranking.score_n[position]),
            model_rank=int(ranking.model_rank_n[position]) or None,
            words_rank=int(ranking.words_rank_n[position]) or None,
            num_folded=int(in_group[group_n[row]]) - 1 if group_n[row] >= 0 else 0,
            facts=fact,
        )
        for position, row, fact in zip(page, rows, facts, strict=True)
    )
