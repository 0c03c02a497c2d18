"""Rank the admitted tiles: fuse ranks, and fold tiles of one group and near-duplicates into their best tile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hubbleclip.evaluation.metrics.baselines import RRF_K
from hubbleclip.search.store import Floats, Rows

NEAR_DUPLICATE = 0.97
"""Cosine similarity from which two tiles of the same piece of sky count as near-duplicates."""
SAME_SKY_SHARE = 0.25
"""Largest distance of the centres of near-duplicates, as a share of the side of a tile."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ranking:
    """Rows, best first, with their scores, and their ranks by model and by words; 0 means no rank.

    `is_complete` is False if further rows follow that were not ranked.
    """

    row_n: Rows
    score_n: npt.NDArray[np.float64]
    model_rank_n: npt.NDArray[np.int64]
    words_rank_n: npt.NDArray[np.int64]
    is_complete: bool


def dense_ranks(score_n: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Rank scores from 1, the highest first; equal scores have the same rank, and the next score has the next rank.

    Parameters
    ----------
    score_n
        Scores. Tiles of one target have equal scores by words; ranks of single tiles would let the size of a proposal
        decide how far the next proposal falls behind.

    Returns
    -------
    ndarray
        Rank of each score.

    """
    sorted_n = np.sort(-score_n)  # faster than np.unique with its inverse
    distinct = sorted_n[np.diff(sorted_n, prepend=-np.inf) > 0]
    return np.searchsorted(distinct, -score_n) + 1


def fuse(model_row_n: Rows, words_row_n: Rows, words_rank_n: npt.NDArray[np.int64]) -> Ranking:
    """Fuse two rankings by reciprocal rank fusion.

    Parameters
    ----------
    model_row_n
        Rows by the model, best first.
    words_row_n
        Rows by words, in any order.
    words_rank_n
        Their ranks.

    Returns
    -------
    Ranking
        All rows of both; the score is the sum of 1 / (60 + rank) over the rankings that hold the row (Cormack, Clarke
        & Buettcher 2009). Equal scores are in order of row.

    """
    size = int(max(model_row_n.max(initial=-1), words_row_n.max(initial=-1))) + 1
    rank_2n = np.zeros((2, size), np.int64)  # by row of the index, which is faster than a search for each row
    rank_2n[0, model_row_n] = np.arange(1, len(model_row_n) + 1)
    rank_2n[1, words_row_n] = words_rank_n
    row_n = np.flatnonzero(rank_2n.any(axis=0))
    model_n, words_n = rank_2n[:, row_n]
    parts = [np.where(rank_n > 0, 1 / (RRF_K + rank_n), 0) for rank_n in (model_n, words_n)]
    score_n = (parts[0] + parts[1]).round(12)
    order = np.argsort(-score_n, kind="stable")
    return Ranking(
        row_n=row_n[order], score_n=score_n[order], model_rank_n=model_n[order], words_rank_n=words_n[order],
        is_complete=True,
    )  # fmt: skip


def first_of_groups(group_n: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Find the first position of every group, in order.

    Parameters
    ----------
    group_n
        Group of each position; a negative value is a group of its own.

    Returns
    -------
    ndarray
        Positions, ascending.

    """
    num, in_group = len(group_n), group_n >= 0
    first_of = np.full(int(group_n.max(initial=-1)) + 1, num)
    # Of several values for one index, numpy keeps the last; in reverse order, that is the first position.
    first_of[group_n[in_group][::-1]] = np.flatnonzero(in_group)[::-1]
    is_first_n = ~in_group
    is_first_n[first_of[first_of < num]] = True
    return np.flatnonzero(is_first_n)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sky:
    """Positions of all tiles: unit vectors (n, 3), NaN where unknown, and the side of each tile in radians."""

    xyz_n3: npt.NDArray[np.float64]
    side_n: npt.NDArray[np.float64]

    @classmethod
    def of(
        cls, ra_deg: npt.NDArray[np.float64], dec_deg: npt.NDArray[np.float64], side_deg: npt.NDArray[np.float64]
    ) -> Sky:
        """Compute the unit vectors.

        Parameters
        ----------
        ra_deg, dec_deg
            Positions in degrees, shape (n,); NaN where unknown.
        side_deg
            Sides of the tiles in degrees; NaN where unknown.

        Returns
        -------
        Sky
            Positions of all tiles.

        """
        ra, dec = np.radians(ra_deg), np.radians(dec_deg)
        xyz_n3 = np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=1)
        return cls(xyz_n3=xyz_n3, side_n=np.radians(side_deg))


def fold_near_duplicates(rows: Sequence[int], feat_nd: Floats, sky: Sky) -> list[int | None]:
    """Find the near-duplicates among ranked tiles: nearly equal pictures of nearly the same piece of sky.

    Parameters
    ----------
    rows
        Rows, best first.
    feat_nd
        Their features (n, d).
    sky
        Positions of all tiles of the index.

    Returns
    -------
    list of int or None
        For each position, the position of the earlier tile that it duplicates; None for a tile that is kept.

    """
    kept: list[int] = []
    folded: list[int | None] = []
    xyz_n3, side_n = sky.xyz_n3[list(rows)], sky.side_n[list(rows)]
    for position in range(len(rows)):
        distance_k = np.linalg.norm(xyz_n3[kept] - xyz_n3[position], axis=1)
        near = np.flatnonzero(distance_k <= SAME_SKY_SHARE * side_n[position])  # a comparison with NaN is false
        similar = [kept[i] for i in near if feat_nd[kept[i]] @ feat_nd[position] >= NEAR_DUPLICATE]
        folded.append(similar[0] if similar else None)
        if not similar:
            kept.append(position)
    return folded
