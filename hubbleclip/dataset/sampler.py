"""Choose the groups, tiles and augmentations of training batches.

The result depends only on the seed and the step, so that a run can be resumed at any step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from hubbleclip.core.errors import DatasetError

Ints = npt.NDArray[np.int64]
# One of these numbers is part of every random seed, so that the random streams of a run are independent of each other.
# The numbers must never change, because otherwise recorded training runs could not be reproduced.
GROUP_STREAM, TILE_STREAM, PAIRING_STREAM, AUGMENTATION_STREAM, PADDING_STREAM = range(5)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GroupBatchSampler:
    """Sampler that chooses a proposal group and one of the group's tiles for each row of a batch.

    If there are at least `batch_size` groups, the groups of a batch are distinct: each epoch is a new permutation of
    all groups, and its incomplete last batch is dropped. If there are fewer groups, one permutation of them is repeated
    without end, and each batch starts where the previous batch ended. Each occurrence of a group uses
    the group's next tile.

    Attributes
    ----------
    rows_of_group
        For each group, the row numbers of its tiles.
    batch_size
        Number of tiles per batch, over all processes.
    seed
        Random seed of the run.

    """

    rows_of_group: Sequence[Ints]
    batch_size: int
    seed: int

    def groups(self, step: int) -> Ints:
        """Choose the groups of a step.

        Parameters
        ----------
        step
            Number of the step, counted from 0.

        Returns
        -------
        Ints
            Group numbers of shape (batch_size,). If there are fewer groups than `batch_size`, the numbers of
            occurrences of any two groups differ by at most 1.

        """
        return self._slots(step)[0]

    def rows(self, step: int) -> Ints:
        """Choose the tiles of a step.

        Parameters
        ----------
        step
            Number of the step, counted from 0.

        Returns
        -------
        Ints
            Row numbers of shape (batch_size,), in the order of `groups`. A tile occurs twice in a batch only if its
            group occurs more often in the batch than it has tiles.

        """
        return np.array([self._row(int(group), int(visit)) for group, visit in zip(*self._slots(step), strict=True)])

    def _slots(self, step: int) -> tuple[Ints, Ints]:
        """Return the group of each row of a batch, and how often this group was used before, each (batch_size,)."""
        num_groups, slot_b = len(self.rows_of_group), np.arange(self.batch_size)
        if num_groups < self.batch_size:
            # One fixed order is repeated without end, and each batch starts where the previous batch ended.
            visit_b, position_b = np.divmod(step * self.batch_size + slot_b, num_groups)
            return _shuffled(num_groups, self.seed, GROUP_STREAM, 0)[position_b], visit_b
        # Each epoch has a new order of the groups. The last num_groups % batch_size groups of the order are dropped;
        # these are different groups in each epoch.
        epoch, batch = divmod(step, num_groups // self.batch_size)
        order = _shuffled(num_groups, self.seed, GROUP_STREAM, epoch)
        return order[batch * self.batch_size + slot_b], np.full(self.batch_size, epoch)

    def _row(self, group: int, visit: int) -> int:
        """Return the row number of the tile that a group uses after the group was used `visit` times."""
        rows = self.rows_of_group[group]
        return int(rows[_shuffled(len(rows), self.seed, TILE_STREAM, group)[visit % len(rows)]])


@lru_cache(1 << 17)  # cached because every step needs the same permutations of the groups and of each group's tiles
def _shuffled(num: int, *seed: int) -> Ints:
    """Return the permutation of the numbers 0 to num - 1 that the seed determines."""
    return np.random.default_rng(seed).permutation(num)


def derangement(num_groups: int, seed: int) -> Ints:
    """Draw a random permutation without a fixed point, for training on shuffled pairs.

    Parameters
    ----------
    num_groups
        Number of proposal groups, at least 2.
    seed
        Random seed of the run.

    Returns
    -------
    Ints
        Group numbers of shape (num_groups,). Element i is the group whose texts group i gets; it is never i.

    Raises
    ------
    DatasetError
        If there are fewer than 2 groups.

    """
    if num_groups < 2:
        raise DatasetError(
            "shuffled pairs need at least 2 proposal groups in train: add proposals or set train.shuffled = false"
        )
    order = np.random.default_rng([seed, PAIRING_STREAM]).permutation(num_groups)
    partner = np.empty(num_groups, dtype=np.int64)
    partner[order] = np.roll(order, 1)  # the permutation is one cycle through all groups, so it has no fixed point
    return partner


def positive_ids(group_b: Sequence[int], text_b: Sequence[str]) -> Ints:
    """Compute the ids by which the contrastive loss recognises positive pairs.

    Parameters
    ----------
    group_b
        Group number of each row of the batch.
    text_b
        Text of each row of the batch.

    Returns
    -------
    Ints
        Group id and text id of each row, shape (b, 2). Two rows are positives if their group ids or their text ids are
        equal.

    Notes
    -----
    The relation is deliberately not transitive. If several groups share one sentence, only the rows with this sentence
    are positives of each other; the other rows of these groups are not.

    """
    text_ids: dict[str, int] = {}
    text_id_b = [text_ids.setdefault(text, len(text_ids)) for text in text_b]
    return np.stack([np.asarray(group_b, np.int64), np.asarray(text_id_b, np.int64)], axis=1)


def draw_views(
    rng: np.random.Generator, num: int, min_crop_share: float, whole_share: float = 0.0
) -> npt.NDArray[np.float32]:
    """Draw random augmentations as affine maps from view coordinates to tile coordinates.

    A view is a square crop at a random position of the tile. It is rotated by 0, 90, 180 or 270 degrees with equal
    probabilities and mirrored with probability 1/2. A view never extends beyond its tile, so no pixel has to be filled.

    Parameters
    ----------
    rng
        Random generator.
    num
        Number of views.
    min_crop_share
        Smallest area of a crop as a share of the tile's area, in (0, 1].
    whole_share
        Probability that a view is the whole tile instead of a crop, in [0, 1].

    Returns
    -------
    ndarray
        Affine maps of shape (num, 2, 3), float32. Coordinates are in [-1, 1], as `torch.nn.functional.affine_grid`
        requires.

    """
    # The order of the draws must never change, because otherwise recorded training runs could not be reproduced.
    side = np.where(rng.random(num) < whole_share, 1, np.sqrt(rng.uniform(min_crop_share, 1, num)))
    centre = rng.uniform(-1, 1, (num, 2)) * (1 - side)[:, None]  # limited so that the crop is inside [-1, 1]
    quarter, mirror = rng.integers(4, size=num), rng.choice([-1, 1], num)
    # The values are exact integers, whereas np.cos(np.pi / 2) is not exactly 0.
    cos, sin = np.array([1, 0, -1, 0])[quarter], np.array([0, 1, 0, -1])[quarter]
    rotation = np.stack([np.stack([cos * mirror, -sin], -1), np.stack([sin * mirror, cos], -1)], 1)
    return np.concatenate([side[:, None, None] * rotation, centre[:, :, None]], axis=2).astype(np.float32)
