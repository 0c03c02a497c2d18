"""A search of one state of the index: what it means, which tiles it admits, in which order, and which are shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from hubbleclip.core.errors import SearchError
from hubbleclip.core.vectors import unit_vectors
from hubbleclip.search.open_index import OpenIndex
from hubbleclip.search.params import SearchParams
from hubbleclip.search.ranking import (
    FUSED_DEPTH,
    WORD_DECIMALS,
    Ranker,
    Ranking,
    first_of_groups,
    fold_near_duplicates,
)
from hubbleclip.search.records import Cone, Hit, Mode, Sort, TermKind
from hubbleclip.search.selections import read_selection
from hubbleclip.search.sky import Position, find_cone
from hubbleclip.search.stores.base import Mask, rows_of
from hubbleclip.search.typed_queries import Known, understand

MIN_DEPTH = 200
"""Smallest number of tiles that are ranked by the model for a page."""
DEPTH_FACTOR = 4
"""Factor by which more tiles are ranked when groups leave too few hits for a page."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Query:
    """A search of one state of the index; `elsewhere` finds a place that the catalog does not have."""

    opened: OpenIndex
    params: SearchParams
    elsewhere: Callable[[str], Position | None] | None

    def understood(self) -> Query:
        """Return the search with what is recognised in its texts as parameters."""

        def has_place(name: str) -> bool:
            try:
                return bool(find_cone(name, None, self.opened.facts.target_cone, self.elsewhere))
            except SearchError:
                return False

        known = Known(words=self.opened.facts.words.words, has_place=has_place, **self.opened.names)
        return replace(self, params=understand(self.params, known))

    @cached_property
    def cone(self) -> Cone | None:
        """Cone around the place of the search."""
        place, radius_deg = self.params.filter_values().get("place"), self.params.radius_deg
        return find_cone(place, radius_deg, self.opened.facts.target_cone, self.elsewhere) if place else None

    @cached_property
    def mask_n(self) -> Mask:
        """Which rows the filters admit."""
        values = self.params.filter_values() | ({"place": asdict(self.cone)} if self.cone else {})
        rows = self.opened.facts.admitted(values)
        if self.params.selection:
            selected = read_selection(self.opened.layout.selections, self.params.selection).tile_ids
            chosen = [row for row in rows_of(self.opened.store.tile_ids, selected) if row is not None]
            rows = np.intersect1d(rows, np.array(chosen, np.int64))
        mask_n = np.zeros(len(self.opened.store.tile_ids), np.bool_)
        mask_n[rows] = True
        return mask_n

    @cached_property
    def found_n(self) -> Mask:
        """Which rows the search admits, by its filters and, in the mode `words`, by having a word."""
        texts = [(term.value, term.weight) for term in self.params.terms() if term.kind is TermKind.TEXT]
        if self.params.mode is not Mode.WORDS or not texts:
            return self.mask_n
        found_n: Mask = self.mask_n & (self.opened.facts.word_scores(texts).round(WORD_DECIMALS) > 0)
        return found_n

    @cached_property
    def ranker(self) -> Ranker:
        """Ranker of the admitted rows."""
        return Ranker(self.opened, self.params, self.mask_n)

    @cached_property
    def group_n(self) -> npt.NDArray[np.int64]:
        """Group of each row."""
        return self.opened.groups(self.params.group)

    def ranked(self, num_wanted: int) -> tuple[Ranking, list[int]]:
        """Rank and sort the tiles; return them with the positions that are shown, at most `num_wanted`."""
        depth = max(MIN_DEPTH, DEPTH_FACTOR * num_wanted)
        if self.params.sort is not Sort.SCORE:
            depth = FUSED_DEPTH if self.ranker.terms else len(self.mask_n)
        while True:
            ranking = self.ranker.best(depth)
            if self.params.sort is not Sort.SCORE:
                ranking = self._sorted(ranking, depth)
            kept = self._fold(ranking, num_wanted)
            if len(kept) >= num_wanted or ranking.is_complete:
                return ranking, kept
            depth *= DEPTH_FACTOR

    def _sorted(self, ranking: Ranking, depth: int) -> Ranking:
        """Sort the best `depth` tiles of a ranking by something else than their scores."""
        key_n: npt.NDArray[np.float64 | np.int64]
        if self.params.sort is Sort.RANDOM:
            key_n = np.random.default_rng(self.params.seed).random(len(self.mask_n))
        elif self.params.sort is Sort.DISTANCE:
            if self.cone is None:
                raise SearchError("the order `distance` needs a place")
            key_n = np.linalg.norm(self.opened.xyz_n3 - unit_vectors(self.cone.ra_deg, self.cone.dec_deg), axis=1)
        else:
            key_n = self.opened.orders[self.params.sort]
        order_n = np.argsort(key_n[ranking.row_n[:depth]], kind="stable")
        values = {one.name: getattr(ranking, one.name) for one in fields(ranking)}
        changed = {name: value[order_n] for name, value in values.items() if isinstance(value, np.ndarray)}
        return replace(ranking, **changed, is_complete=True)

    def _fold(self, ranking: Ranking, num_wanted: int) -> list[int]:
        """Return the positions in a ranking that are shown, at most `num_wanted`.

        Only the first item of each group is shown, and no near-duplicate of an earlier item. Of a search that has
        filters only (such as a cone search), near-duplicates are shown too. The comparison always starts at the first
        position, so that all pages agree, and ends when enough positions are found.
        """
        first_n = first_of_groups(self.group_n[ranking.row_n])
        if not self.ranker.terms:
            return [int(position) for position in first_n[:num_wanted]]
        num_compared = num_wanted
        while True:
            compared = first_n[:num_compared].tolist()
            rows = ranking.row_n[compared]
            side_rad_n = np.radians(self.opened.positions[2][rows])
            folded = fold_near_duplicates(self.opened.store.features(rows), self.opened.xyz_n3[rows], side_rad_n)
            kept = [position for position, earlier in zip(compared, folded, strict=True) if earlier is None]
            if len(kept) >= num_wanted or num_compared >= len(first_n):
                return kept[:num_wanted]
            num_compared *= 2

    def hits(self, ranking: Ranking, page: list[int]) -> tuple[Hit, ...]:
        """Make the hits at some positions of a ranking."""
        rows = ranking.row_n[page]

        def rank(rank_n: npt.NDArray[np.int64] | None, position: int) -> int | None:
            return None if rank_n is None else int(rank_n[position]) or None

        facts = self.opened.facts.facts(rows.tolist())
        in_group = np.bincount(self.group_n[self.mask_n & (self.group_n >= 0)], minlength=1)
        return tuple(
            Hit(
                tile_id=fact.pop("tile_id"),
                score=float(ranking.score_n[position]),
                model_rank=rank(ranking.model_rank_n, position),
                words_rank=rank(ranking.words_rank_n, position),
                num_folded=int(in_group[self.group_n[row]]) - 1 if self.group_n[row] >= 0 else 0,
                facts=fact,
            )
            for position, row, fact in zip(page, rows, facts, strict=True)
        )
