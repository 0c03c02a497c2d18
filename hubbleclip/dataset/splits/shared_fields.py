"""Proposals that look at the same field: better held together than told apart by leaving their tiles out.

Where dozens of proposals observe one deep field, some of them are drawn for val or test, and the guard then takes the
field out of train altogether. One group for the field keeps nearly all of it, on one side.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from scipy.sparse import csr_array, triu

from hubbleclip.core.records import Observation
from hubbleclip.dataset.splits.continuations import Link
from hubbleclip.dataset.splits.sky_guard import moving_target
from hubbleclip.dataset.splits.sky_overlap import ARCSEC, Ints, unit_vectors

CELL_SIDE_RAD = 120 * ARCSEC
"""Side of the cells, by which aim points are near each other: in the same or a neighbouring one."""
GRID_SIZE = 1 << 13
NEIGHBOUR_OFFSETS = np.array(
    [(i * GRID_SIZE + j) * GRID_SIZE + k for i in (-1, 0, 1) for j in (-1, 0, 1) for k in (-1, 0, 1)]
)
CENTRE = len(NEIGHBOUR_OFFSETS) // 2


def field_links(observations: Iterable[Observation], least: float) -> list[Link]:
    """Links of proposals each of which has at least the share `least` of its observations near some of the other's.

    Both must, so that a survey of the whole sky does not tie together all that it passes. Of moving targets the same
    name counts as near; what has no place counts for nothing. A `least` of 0 links nothing.
    """
    placed = [one for one in observations if moving_target(one) or (one.ra_deg is not None and one.dec_deg is not None)]
    if not least or not placed:
        return []
    names, owner = np.unique([one.proposal_id for one in placed], return_inverse=True)
    near = _near_cells(placed)
    columns, column = np.unique(near, return_inverse=True)
    shape = (len(names), len(columns))
    column = column.reshape(near.shape)
    looks = csr_array((np.ones(len(placed)), (owner, column[:, CENTRE])), shape)
    reach = csr_array((np.ones(near.size), (np.repeat(owner, near.shape[1]), column.ravel())), shape)
    reach.data[:] = 1
    share = csr_array(looks @ reach.T / np.bincount(owner)[:, None])
    mutual = triu(share.minimum(share.T), 1).tocoo()
    return [
        Link(one=str(names[i]), other=str(names[j]), reason="field", detail=f"{value:.0%} of the observations are near")
        for i, j, value in sorted(zip(mutual.row, mutual.col, mutual.data, strict=True))
        if value >= least
    ]


def _near_cells(placed: Sequence[Observation]) -> Ints:
    """Cells around each observation (n, 27), its own in the middle; a moving target is a cell of its own."""
    targets = [moving_target(one) for one in placed]
    names = {name: -1 - index for index, name in enumerate(sorted({name for name in targets if name}))}
    places = np.array(
        [(0, 0) if name else (one.ra_deg, one.dec_deg) for one, name in zip(placed, targets, strict=True)]
    )
    i, j, k = (np.floor(unit_vectors(*places.T) / CELL_SIDE_RAD).astype(np.int64) + GRID_SIZE // 2).T
    cells = ((i * GRID_SIZE + j) * GRID_SIZE + k)[:, None] + NEIGHBOUR_OFFSETS
    moving = np.array([names.get(name or "", 0) for name in targets])[:, None]
    return np.where(moving < 0, moving, cells)
