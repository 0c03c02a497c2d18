"""Simulate test sets whose true accuracy is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy import special

from hubbleclip.evaluation.metrics.retrieval import Floats, Ints

SHARES = {"caption": 0.1, "group": 0.1, "pair": 0.4, "tile": 0.4}
"""Shares of the variance of the similarity of a tile and a wrong caption: captions that many tiles are similar to,
groups that are similar to many captions, pairs of group and caption, and single pairs of tile and caption."""
OWN_SHARES = {"group": 0.7, "tile": 0.3}
"""Shares of the variance of the similarity of a tile and its own caption."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Hits:
    """Number of tiles (p, g) of each group in p test sets, and number of hits (s, p, g) of each of s scorers."""

    tiles_pg: Ints
    hits_spg: Ints


def draw_hits(
    rng: np.random.Generator,
    shape: tuple[int, int],
    accuracies: Sequence[float],
    correlation: float,
    *,
    max_tiles: int,
    agreement: float = 0.0,
) -> Hits:
    """Draw test sets of groups of 1 to `max_tiles` tiles, whose accuracy differs from group to group."""
    tiles_pg = rng.integers(1, max_tiles + 1, shape)
    total = 1 / correlation - 1
    first_pg, first_pgt = rng.normal(size=shape), rng.random((*shape, max_tiles))
    is_tile_pgt = np.arange(max_tiles) < tiles_pg[..., None]
    hits = []
    for number, accuracy in enumerate(accuracies):
        own_pg, own_pgt = first_pg, first_pgt
        if number:
            own_pg = agreement * first_pg + np.sqrt(1 - agreement**2) * rng.normal(size=shape)
            own_pgt = np.where(rng.random(first_pgt.shape) < agreement, first_pgt, rng.random(first_pgt.shape))
        chance_pg = np.interp(special.ndtr(own_pg), *beta_quantiles(accuracy * total, (1 - accuracy) * total))
        hits.append(((own_pgt < chance_pg[..., None]) & is_tile_pgt).sum(axis=2))
    return Hits(tiles_pg=tiles_pg, hits_spg=np.array(hits))


@cache
def beta_quantiles(a: float, b: float) -> tuple[Floats, Floats]:
    """Tabulate the quantiles of a beta distribution: probabilities, and the value at each."""
    grid = np.linspace(0, 1, 4001)[1:-1]
    return grid, special.betaincinv(a, b, grid)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Similarities:
    """One test set: similarities (t, c) of tiles and captions, and the group (t,) of each tile.

    A group has one caption. `is_own_tc` marks each tile's own caption; the quality of the model is added there.
    """

    scores_tc: Floats
    is_own_tc: np.ndarray
    group_t: Ints


def draw_similarities(rng: np.random.Generator, num_groups: int, *, max_tiles: int) -> Similarities:
    """Draw a test set of a model of quality 0, which is as similar to a tile's own caption as to others."""
    group_t = np.repeat(np.arange(num_groups), rng.integers(1, max_tiles + 1, num_groups))
    num_tiles = len(group_t)
    scores_tc = np.sqrt(SHARES["pair"]) * rng.normal(size=(num_groups, num_groups))[group_t]
    scores_tc += np.sqrt(SHARES["tile"]) * rng.normal(size=(num_tiles, num_groups))
    scores_tc += np.sqrt(SHARES["caption"]) * rng.normal(size=num_groups)
    scores_tc += np.sqrt(SHARES["group"]) * rng.normal(size=num_groups)[group_t, None]
    own_t = np.sqrt(OWN_SHARES["group"]) * rng.normal(size=num_groups)[group_t]
    own_t += np.sqrt(OWN_SHARES["tile"]) * rng.normal(size=num_tiles)
    is_own_tc = group_t[:, None] == np.arange(num_groups)
    return Similarities(scores_tc=np.where(is_own_tc, own_t[:, None], scores_tc), is_own_tc=is_own_tc, group_t=group_t)
