"""Links between proposals that observe the same field, so that they share a split.

Where dozens of proposals observe one deep field, some would be drawn for val or test, and the sky guard would exclude
the whole field from train. As one group, the field stays on one side and nearly all of it is kept.
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
"""Side of the cubic cells in which pointings are compared: those in the same or in neighbouring cells are near."""
GRID_SIZE = 1 << 13
"""Cells per axis, with which the three indices of a cell are packed into one integer; 3438 span the unit sphere."""
NEIGHBOUR_OFFSETS = np.array(
    [(i * GRID_SIZE + j) * GRID_SIZE + k for i in (-1, 0, 1) for j in (-1, 0, 1) for k in (-1, 0, 1)]
)
"""Offsets (27,) from a cell's packed index to those of its neighbours, itself included."""
CENTRE = len(NEIGHBOUR_OFFSETS) // 2
"""Position of the cell itself among its neighbours."""


def field_links(observations: Iterable[Observation], min_share: float) -> list[Link]:
    """Link proposals that have at least a given share of their observations near some of each other's.

    The share must be reached from both sides, so that a wide survey does not join all proposals whose fields it passes.

    Parameters
    ----------
    observations
        Moving targets are near each other if their names agree; observations without target name and position are
        ignored.
    min_share
        Threshold in [0, 1]; 0 gives no links.

    Returns
    -------
    list[Link]
        With reason `field`, in order of proposal ids.

    """
    placed = [one for one in observations if moving_target(one) or (one.ra_deg is not None and one.dec_deg is not None)]
    if not min_share or not placed:
        return []
    names, owner = np.unique([one.proposal_id for one in placed], return_inverse=True)
    near = _near_cells(placed)
    columns, column = np.unique(near, return_inverse=True)  # cell numbers compressed to columns of the matrices
    shape = (len(names), len(columns))
    column = column.reshape(near.shape)
    # Sparse matrices (proposals, cells): observations in each cell, and cells that are near any observation.
    num_observations = csr_array((np.ones(len(placed)), (owner, column[:, CENTRE])), shape)
    is_near = csr_array((np.ones(near.size), (np.repeat(owner, near.shape[1]), column.ravel())), shape)
    is_near.data[:] = 1  # duplicates were summed
    # share[i, j]: share of the observations of proposal i that are near one of proposal j.
    share = csr_array(num_observations @ is_near.T / np.bincount(owner)[:, None])
    mutual = triu(share.minimum(share.T), 1).tocoo()
    return [
        Link(one=str(names[i]), other=str(names[j]), reason="field", detail=f"{value:.0%} of the observations are near")
        for i, j, value in sorted(zip(mutual.row, mutual.col, mutual.data, strict=True))
        if value >= min_share
    ]


def _near_cells(placed: Sequence[Observation]) -> Ints:
    """Cells (n, 27) around each observation, its own in the middle; a moving target has its own cell 27 times."""
    targets = [moving_target(one) for one in placed]
    names = {name: -1 - index for index, name in enumerate(sorted({name for name in targets if name}))}
    positions_deg = np.array(  # a moving target needs none
        [(0, 0) if name else (one.ra_deg, one.dec_deg) for one, name in zip(placed, targets, strict=True)]
    )
    # Cells of the unit vectors in three dimensions have no seam at RA 0 and no singularity at the poles.
    i, j, k = (np.floor(unit_vectors(*positions_deg.T) / CELL_SIDE_RAD).astype(np.int64) + GRID_SIZE // 2).T
    cells = ((i * GRID_SIZE + j) * GRID_SIZE + k)[:, None] + NEIGHBOUR_OFFSETS
    # Negative numbers, one per moving target, never equal the index of a cell.
    moving = np.array([names.get(name or "", 0) for name in targets])[:, None]
    return np.where(moving < 0, moving, cells)
