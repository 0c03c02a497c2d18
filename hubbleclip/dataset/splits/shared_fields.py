"""Link proposals that observe the same field on the sky, so that they are in the same split.

Dozens of proposals may observe one deep field. If their splits were drawn independently, some of these proposals would
be in val or test, and the sky guard would exclude all train tiles of the field. Linked proposals form one group and are
assigned to one split, so that nearly all tiles of the field can be used.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from scipy.sparse import csr_array, triu

from hubbleclip.config.settings import FIELD_SHARE
from hubbleclip.core.records import Observation
from hubbleclip.core.vectors import unit_vectors
from hubbleclip.dataset.splits.continuations import Link
from hubbleclip.dataset.splits.footprints import ARCSEC, Ints
from hubbleclip.dataset.splits.moving_targets import moving_target

CELL_SIDE_RAD = 120 * ARCSEC
"""Side of the cubic cells into which the unit sphere is divided.

Two pointings are near each other if they are in the same cell or in neighbouring cells.
"""
GRID_SIZE = 1 << 13
"""Base for packing the three indices of a cell into one integer; the unit sphere spans only 3438 cells per axis."""
NEIGHBOUR_OFFSETS = np.array(
    [(i * GRID_SIZE + j) * GRID_SIZE + k for i in (-1, 0, 1) for j in (-1, 0, 1) for k in (-1, 0, 1)]
)
"""Offsets (27,) from the packed index of a cell to the packed indices of the 3x3x3 cells around this cell."""
CENTRE = len(NEIGHBOUR_OFFSETS) // 2
"""Index in `NEIGHBOUR_OFFSETS` of the cell itself."""


def field_links(observations: Iterable[Observation]) -> list[Link]:
    """Link pairs of proposals that observe the same field.

    Proposals A and B are linked if at least the share `FIELD_SHARE` of A's observations is near an observation of B,
    and at least the same share of B's observations is near an observation of A. Both conditions are needed, so that a
    wide survey is not linked to every proposal with a small field inside the survey.
    """
    placed = [one for one in observations if moving_target(one) or (one.ra_deg is not None and one.dec_deg is not None)]
    if not placed:
        return []
    names, owner = np.unique([one.proposal_id for one in placed], return_inverse=True)
    near = _near_cells(placed)
    columns, column = np.unique(near, return_inverse=True)  # each cell that occurs becomes a column of the matrices
    shape = (len(names), len(columns))
    column = column.reshape(near.shape)
    # Both sparse matrices have one row per proposal and one column per cell. `num_observations` contains the number of
    # the proposal's observations in the cell. `is_near` is 1 if the cell is near any observation of the proposal.
    num_observations = csr_array((np.ones(len(placed)), (owner, column[:, CENTRE])), shape)
    is_near = csr_array((np.ones(near.size), (np.repeat(owner, near.shape[1]), column.ravel())), shape)
    is_near.data[:] = 1  # `csr_array` has summed entries of the same cell, so values above 1 are reset to 1
    # share[i, j] is the share of the observations of proposal i that are near an observation of proposal j.
    share = csr_array(num_observations @ is_near.T / np.bincount(owner)[:, None])
    mutual = triu(share.minimum(share.T), 1).tocoo()
    return [
        Link(one=str(names[i]), other=str(names[j]), reason="field", detail=f"{value:.0%} of the observations are near")
        for i, j, value in sorted(zip(mutual.row, mutual.col, mutual.data, strict=True))
        if value >= FIELD_SHARE
    ]


def _near_cells(placed: Sequence[Observation]) -> Ints:
    """Return the packed indices (n, 27) of cells around each observation; column `CENTRE` is the observation's cell.

    For an observation of a moving target, all 27 entries are the same negative number, which identifies the target.
    """
    targets = [moving_target(one) for one in placed]
    names = {name: -1 - index for index, name in enumerate(sorted({name for name in targets if name}))}
    positions_deg = np.array(  # the position of a moving target is not used
        [(0, 0) if name else (one.ra_deg, one.dec_deg) for one, name in zip(placed, targets, strict=True)]
    )
    # Unit vectors in three dimensions need no special treatment at RA 0 or at the poles.
    i, j, k = (np.floor(unit_vectors(*positions_deg.T) / CELL_SIDE_RAD).astype(np.int64) + GRID_SIZE // 2).T
    cells = ((i * GRID_SIZE + j) * GRID_SIZE + k)[:, None] + NEIGHBOUR_OFFSETS
    # Each moving target has its own negative number, which never equals the index of a cell.
    moving = np.array([names.get(name or "", 0) for name in targets])[:, None]
    return np.where(moving < 0, moving, cells)
