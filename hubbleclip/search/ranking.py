"""Interpret a search, filter the tiles of one state of the index, rank the tiles, and select the hits to show."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc
from scipy.spatial import cKDTree

from hubbleclip.config.tiles import TileSettings
from hubbleclip.core.errors import SearchError
from hubbleclip.core.id_prefixes import find_id
from hubbleclip.core.vectors import unit, unit_vectors
from hubbleclip.evaluation.metrics.baselines import MODEL_WEIGHT, fused_scores
from hubbleclip.search.open_index import Floats64, OpenIndex
from hubbleclip.search.params import SearchParams
from hubbleclip.search.records import Cone, Hit, Mode, Sort, Term
from hubbleclip.search.selections import read_selection
from hubbleclip.search.sky import Position, find_cone
from hubbleclip.search.stores.base import Floats, Mask, RowNumbers, Scored, best_rows, rows_of
from hubbleclip.search.typed_queries import Known, understand

MIN_DEPTH = 200
"""Smallest number of tiles that are ranked by the model for a page."""
DEPTH_FACTOR = 4
"""Factor by which the number of ranked tiles grows if groups and near-duplicates leave too few hits."""
FUSED_DEPTH = 1000
"""Number of best tiles by the model, and of best tiles by words, whose fused scores are computed from features. The
number is constant, so that pages do not overlap."""
SORTED_DEPTH = 4096
"""Minimum number of rows that are sorted if the scores of all rows are known. Sorting 4,096 rows takes only 1 ms."""
WORD_DECIMALS = 6
"""Decimals to which a sum of BM25 scores is rounded, so that equal tiles get equal scores despite rounding errors."""
TILE_WEIGHT = 10.0
"""Factor of the weight of a tile or picture in a query that also has a text.

Without this factor, word scores, which differ by about 10, would outweigh similarities, which differ by about 0.5.
"""
NUM_MEANT = 10
"""Maximum number of matching ids that are read if a user gives only the first characters of an id."""
NEAR_DUPLICATE = 0.97
"""Minimum cosine similarity of near-duplicates, that is, of tiles that show the same piece of sky."""
SAME_SKY_SHARE = 0.25
"""Maximum distance between the centres of near-duplicates, divided by the side of a tile."""


class Ranking(NamedTuple):
    """Rows, best first, with their scores and their ranks by the model and by words.

    Ranks begin at 1; the value 0 means that a row has no rank. An array of ranks is None if no row has a rank.
    `is_complete` is False if there are further rows, which were not ranked.
    """

    row_n: RowNumbers
    score_n: Floats64
    is_complete: bool
    model_rank_n: npt.NDArray[np.int64] | None = None
    words_rank_n: npt.NDArray[np.int64] | None = None


def dense_ranks(score_n: Floats64, wanted_n: Floats64) -> npt.NDArray[np.int64]:
    """Return the dense ranks of the scores `wanted_n` among `score_n`; the highest score has rank 1."""
    distinct = np.unique(-score_n[score_n >= wanted_n.min(initial=np.inf)])  # lower scores do not affect these ranks
    return np.searchsorted(distinct, -wanted_n) + 1


def first_of_groups(group_n: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the sorted positions of the first item of each group, and of all items without a group (id < 0)."""
    _, first_n = np.unique(group_n, return_index=True)
    return np.union1d(first_n[group_n[first_n] >= 0], np.flatnonzero(group_n < 0))


def fold_near_duplicates(feat_nd: Floats, xyz_n3: Floats64, side_rad_n: Floats64) -> list[int | None]:
    """For each ranked tile, find the position of an earlier tile that is its near-duplicate; None if there is none."""
    folded: list[int | None] = [None] * len(feat_nd)
    is_kept_n = np.ones(len(feat_nd), np.bool_)
    placed = np.flatnonzero(np.isfinite(xyz_n3).all(axis=1) & np.isfinite(side_rad_n))
    xyz_m3, reach_m = xyz_n3[placed], SAME_SKY_SHARE * side_rad_n[placed]
    neighbours = cKDTree(xyz_m3).query_ball_point(xyz_m3, reach_m, return_sorted=True)
    for later, found in zip(placed.tolist(), neighbours, strict=True):
        if len(found) == 1:  # the tile has no neighbour
            continue
        near = placed[found]
        near = near[(near < later) & is_kept_n[near]]
        similar = near[feat_nd[near] @ feat_nd[later] >= NEAR_DUPLICATE]
        if len(similar):
            folded[later], is_kept_n[later] = int(similar[0]), False
    return folded


class Ranker:
    """Ranks the admitted rows of one state of the index by the terms of a search.

    The constructor computes the word scores and the fused scores, because both are independent of the ranking depth.

    Parameters
    ----------
    opened
        Index and catalog.
    params
        The search; its terms and its mode are used.
    mask_n
        Mask of the rows that the filters admit.

    Raises
    ------
    SearchError
        If a text is empty, if a proposal is unknown, or if the mode needs a text and the search has none.

    """

    def __init__(self, opened: OpenIndex, params: SearchParams, mask_n: Mask) -> None:
        self.opened, self.mask_n = opened, mask_n
        self.num_admitted = int(np.count_nonzero(mask_n))
        self.terms = [(term, self._text_of(term)) for term in params.terms()]
        texts = [(text, term.weight) for term, text in self.terms if text]
        if params.mode is Mode.WORDS and self.terms and not texts:
            raise SearchError("the mode `words` needs a text or a proposal: use `model` for pictures and tiles")
        self.mode = params.mode if texts else Mode.MODEL
        if self.mode is Mode.MODEL or not self.num_admitted:
            return
        self.words_n = opened.facts.word_scores(texts).round(WORD_DECIMALS)
        row_n = np.flatnonzero((self.words_n > 0) & mask_n)
        self.words = self.found = Scored(row_n, self.words_n[row_n])
        self.model_rank_n: npt.NDArray[np.int64] | None = None
        if self.mode is Mode.WORDS:
            self.num_admitted = len(row_n)
            return
        query_d, admitted_n = self._query_d.astype(np.float64), np.flatnonzero(mask_n)
        by_model = opened.store.scan(query_d, FUSED_DEPTH, mask_n)
        by_words_n, text_weight = np.maximum(self.words_n, 0), sum(max(weight, 0.0) for _, weight in texts)
        # Features are read only for the best rows by the model and by words. The similarity of every other row is
        # assumed to equal the similarity of the last row of `by_model`, but to be at most 0.
        score_n = by_words_n + min(0.0, MODEL_WEIGHT * float(np.linalg.norm(query_d) * by_model.score_n[-1]))
        compared_n = np.union1d(by_model.row_n, best_rows(*self.words, FUSED_DEPTH).row_n)
        feat_nd = opened.store.features(compared_n)
        score_n[compared_n] = fused_scores(by_words_n[compared_n], query_d, feat_nd, text_weight)
        self.found = Scored(admitted_n, score_n[admitted_n])
        self.model_rank_n = np.zeros(len(score_n), np.int64)
        self.model_rank_n[by_model.row_n] = np.arange(1, len(by_model.row_n) + 1)

    @cached_property
    def _query_d(self) -> Floats:
        """Feature of the query: the weighted sum of the features of all terms."""
        model, features = self.opened.model, []
        for term, text in self.terms:
            if text is not None:
                feature_d = model.embed_text(text)
            elif term.kind == "image":
                feature_d = model.embed_file(Path(term.value), TileSettings(**self.opened.current.tiles))
            else:
                feature_d = self.opened.store.features([self._row_of(term.value)])[0]
            factor = TILE_WEIGHT if text is None and self.mode is Mode.BOTH else 1.0
            features.append(factor * term.weight * unit(feature_d.astype(np.float64)))
        return np.asarray(np.sum(features, axis=0), np.float32)

    def _text_of(self, term: Term) -> str | None:
        """Return the words of a term; None for pictures and tiles."""
        if term.kind == "text":
            if not term.value.strip():
                raise SearchError("a text of the query is empty")
            # double quotes mark words that are not filters, and are not part of the text
            return term.value.replace('"', " ").strip() or term.value
        if term.kind == "proposal":
            text = self.opened.facts.proposal_text(term.value)
            if not text:
                fault = f"there is no proposal {term.value}" if text is None else f"proposal {term.value} has no text"
                raise SearchError(fault)
            return text
        return None

    def _row_of(self, start: str) -> int:
        """Return the row of the indexed tile whose id is `start`, or begins with it."""
        ids = self.opened.store.tile_ids
        (row,) = rows_of(ids, [start])
        if row is None:
            meant = ids.filter(pc.starts_with(ids, start)).slice(0, NUM_MEANT).to_pylist() if start else []
            if not meant:
                raise SearchError(
                    f"no indexed tile begins with {start!r}: `hubbleclip explain` finds tiles that are not indexed"
                )
            row = ids.index(find_id(start, meant, kind="tile", listed_by="hubbleclip search")).as_py()
        return row

    def best(self, depth: int) -> Ranking:
        """Rank the best `depth` rows or more; all rows if there are fewer."""
        if not self.terms or not self.num_admitted:  # without terms or admitted rows, the model is not loaded
            row_n = np.flatnonzero(self.mask_n)[: depth if self.num_admitted else 0]
            return Ranking(row_n, np.zeros(len(row_n)), depth >= self.num_admitted)
        if self.mode is Mode.MODEL:
            found = self.opened.store.scan(self._query_d, depth, self.mask_n)
            return Ranking(*found, depth >= self.num_admitted, model_rank_n=np.arange(1, len(found.row_n) + 1))
        depth = max(depth, SORTED_DEPTH)
        best = best_rows(*self.found, depth)
        words_n = self.words_n[best.row_n]
        model_rank_n = None if self.model_rank_n is None else self.model_rank_n[best.row_n]
        words_rank_n = np.where(words_n > 0, dense_ranks(self.words.score_n, words_n), 0)
        return Ranking(*best, depth >= len(self.found.row_n), model_rank_n, words_rank_n)


@dataclass(frozen=True, kw_only=True, eq=False)
class Query:
    """A search and the open index that answers it; `elsewhere` finds places that the catalog does not have."""

    opened: OpenIndex
    params: SearchParams
    elsewhere: Callable[[str], Position | None] | None

    def understood(self) -> Query:
        """Convert filters, names and dates that are typed in the texts to parameters, and return the new search."""

        def has_place(name: str) -> bool:
            try:
                return bool(find_cone(name, None, self.opened.facts.target_cone, self.elsewhere))
            except SearchError:
                return False

        known = Known(words=self.opened.facts.words.words, has_place=has_place, **self.opened.facts.names)
        return replace(self, params=understand(self.params, known))

    @cached_property
    def cone(self) -> Cone | None:
        """Cone around the place of the search."""
        place, radius_deg = self.params.filter_values().get("place"), self.params.radius_deg
        return find_cone(place, radius_deg, self.opened.facts.target_cone, self.elsewhere) if place else None

    @cached_property
    def mask_n(self) -> Mask:
        """Mask of the rows that the filters admit."""
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
        """Mask of the rows that pass the filters and, in the mode `words`, contain a word of the query."""
        if self.params.mode is not Mode.WORDS or not (self.ranker.terms and self.mask_n.any()):
            return self.mask_n
        found_n = np.zeros_like(self.mask_n)
        found_n[self.ranker.words.row_n] = True
        return found_n

    @cached_property
    def ranker(self) -> Ranker:
        """Ranker of the admitted rows."""
        return Ranker(self.opened, self.params, self.mask_n)

    @cached_property
    def group_n(self) -> npt.NDArray[np.int64]:
        """Group of each row."""
        return self.opened.groups(self.params.group)

    def ranked(self, num_needed: int, num_counted: int) -> tuple[Ranking, list[int]]:
        """Rank and sort the tiles; return the ranking, and the positions in the ranking that are shown.

        From `num_needed` to `num_counted` positions are returned, or fewer if there are not enough tiles.
        """
        depth = max(MIN_DEPTH, DEPTH_FACTOR * num_counted)
        if self.params.sort is not Sort.SCORE:
            depth = FUSED_DEPTH if self.ranker.terms else len(self.mask_n)
        while True:
            ranking = self.ranker.best(depth)
            if self.params.sort is not Sort.SCORE:
                ranking = self._sorted(ranking, depth)
            kept = self._fold(ranking, num_counted)
            if len(kept) >= num_needed or ranking.is_complete:
                return ranking, kept
            depth *= DEPTH_FACTOR

    def _sorted(self, ranking: Ranking, depth: int) -> Ranking:
        """Sort the best `depth` tiles of a ranking by date, exposure time or distance, or at random."""
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
        changed = {name: value[order_n] for name, value in ranking._asdict().items() if isinstance(value, np.ndarray)}
        return ranking._replace(**changed, is_complete=True)

    def _fold(self, ranking: Ranking, num_wanted: int) -> list[int]:
        """Return the positions in a ranking that are shown, at most `num_wanted`.

        Only the first item of each group is shown. Near-duplicates of earlier items are not shown, except in a search
        that has only filters (such as a cone search). The comparison always starts at the first position, so that all
        pages are consistent.
        """
        first_n = first_of_groups(self.group_n[ranking.row_n])
        if not self.ranker.terms:
            return [int(position) for position in first_n[:num_wanted]]
        num_compared = num_wanted
        while True:
            compared = first_n[:num_compared].tolist()
            rows = ranking.row_n[compared]
            side_rad_n = np.radians(self.opened.facts.positions[2][rows])
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
        in_group = np.bincount(self.group_n[self.found_n & (self.group_n >= 0)], minlength=1)
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
