"""Search the indexed tiles: filters, then the scan of the features and the words, then groups and pages.

The filters are answered by the catalog's published snapshot, the scan by the vector store. Both are opened read-only
and stay valid while a flow replaces them; the next query after that opens the new ones.
"""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from hubbleclip.core.errors import HubbleclipError, SearchError
from hubbleclip.core.layout import Layout
from hubbleclip.search.current import CurrentIndex, Opened, open_state, state_stamp
from hubbleclip.search.filters import admitted_rows
from hubbleclip.search.query import Cone, Filters, GroupBy, Hit, Hits, Mode, Query, Term, TermKind
from hubbleclip.search.ranking import Ranker, Ranking, first_of_groups, fold_near_duplicates
from hubbleclip.search.sky import resolve_name
from hubbleclip.search.store import Mask

if TYPE_CHECKING:
    from hubbleclip.config.settings import Settings
    from hubbleclip.search.tables import HitTable

log = logging.getLogger(__name__)
MIN_DEPTH = 200
"""Smallest number of tiles that are ranked by the model for a page."""
DEPTH_FACTOR = 4
"""Factor by which more tiles are ranked when groups leave too few hits for a page."""
MAX_HITS = 10_000
"""Largest `offset + k`, which bounds time and memory."""


class Search:
    """Search over the tiles of one profile; any number of threads may call one object.

    Parameters
    ----------
    layout
        Paths of the profile's files and folders.

    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._refreshing = threading.Lock()
        self._opened = open_state(layout)

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

    def _now(self) -> Opened:
        """Return the newest state of index and catalog.

        One thread opens a new state while the others still use the old one, whose files stay valid. If the new one
        cannot be opened, the old one continues to answer.
        """
        opened = self._opened
        if state_stamp(self._layout) == opened.stamp and opened.store.is_current():
            return opened
        if self._refreshing.acquire(blocking=False):
            try:
                self._opened = open_state(self._layout, opened)
            except HubbleclipError as error:
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
        if query.k < 1 or query.offset < 0 or query.offset + query.k > MAX_HITS:
            raise SearchError(f"a page needs k of at least 1, and offset + k of at most {MAX_HITS}")
        opened = self._now()
        mask_n = admitted_rows(opened.facts, query.filters, opened.num_rows)
        ranker = Ranker(opened, query, mask_n)
        group_n = opened.groups(query.group_by)
        depth = max(MIN_DEPTH, DEPTH_FACTOR * (query.offset + query.k))
        while True:
            ranking = ranker.best(depth)
            kept = _fold(opened, ranking, group_n, query.offset + query.k + 1)
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
        """Find a target on the sky by its name or position.

        Parameters
        ----------
        name
            Name of a target in the catalog; or a position such as `10.68 41.27`; or, with internet access, any name
            that Sesame knows.
        radius_deg
            Radius of the cone; by default large enough for all observations of the target.

        Returns
        -------
        Cone
            Circle around the target.

        Raises
        ------
        SearchError
            If nothing has this name.

        """
        return resolve_name(name, self._now().facts.target_cone, radius_deg)


def _fold(opened: Opened, ranking: Ranking, group_n: npt.NDArray[np.int64], num_wanted: int) -> list[int]:
    """Return the positions in a ranking that remain: the first of each group without near-duplicates of earlier ones.

    Only as many positions are compared as are needed, and always from the first one, so that every page gives the
    same answer.
    """
    first_n = first_of_groups(group_n[ranking.row_n])
    num_compared = num_wanted
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
