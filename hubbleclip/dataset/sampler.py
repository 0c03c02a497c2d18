"""Composition of training batches: a pure function of seed and step, so that a run resumes anywhere without replay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from hubbleclip.core.errors import DatasetError

Ints = npt.NDArray[np.int64]
# Second element of every random seed, so that the random streams of one run are independent. The values are part of
# the reproducibility contract: another order would change every recorded training.
GROUP_STREAM, TILE_STREAM, PAIRING_STREAM, AUGMENTATION_STREAM = range(4)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GroupBatchSampler:
    """Samples batches of distinct proposal groups, and one tile per group.

    With at least `batch_size` groups, each epoch is a new permutation of them, whose incomplete last batch is dropped.
    With fewer, one permutation is repeated without end, and a batch starts where the previous one stopped. Each group
    shows its tiles in turn.

    Attributes
    ----------
    rows_of_group
        Row numbers of the tiles of each group.
    batch_size
        Tiles per batch over all processes.
    seed
        Seed of the run.

    """

    rows_of_group: Sequence[Ints]
    batch_size: int
    seed: int

    def groups(self, step: int) -> Ints:
        """Group numbers of a step.

        Parameters
        ----------
        step
            Counted from 0.

        Returns
        -------
        Ints
            Shape (batch_size,); within a batch, the counts of any two groups differ by at most 1.

        """
        return self._slots(step)[0]

    def rows(self, step: int) -> Ints:
        """Row numbers of a step.

        Parameters
        ----------
        step
            Counted from 0.

        Returns
        -------
        Ints
            Shape (batch_size,), aligned with `groups`; a tile is repeated only where its group has too few.

        """
        return np.array([self._row(int(group), int(visit)) for group, visit in zip(*self._slots(step), strict=True)])

    def _slots(self, step: int) -> tuple[Ints, Ints]:
        """Group numbers (batch_size,) of a step, and how often each group was shown before."""
        num_groups, slot_b = len(self.rows_of_group), np.arange(self.batch_size)
        if num_groups < self.batch_size:
            # One fixed order repeated without end: a batch starts where the previous one stopped.
            visit_b, position_b = np.divmod(step * self.batch_size + slot_b, num_groups)
            return _shuffled(num_groups, self.seed, GROUP_STREAM, 0)[position_b], visit_b
        # A new order per epoch. The remainder of num_groups / batch_size is dropped, a different one in each epoch.
        epoch, batch = divmod(step, num_groups // self.batch_size)
        order = _shuffled(num_groups, self.seed, GROUP_STREAM, epoch)
        return order[batch * self.batch_size + slot_b], np.full(self.batch_size, epoch)

    def _row(self, group: int, visit: int) -> int:
        """Row number of a group's tile at its given visit."""
        rows = self.rows_of_group[group]
        return int(rows[_shuffled(len(rows), self.seed, TILE_STREAM, group)[visit % len(rows)]])


@lru_cache(1 << 17)  # the permutations of an epoch and of the groups' tiles are needed again at every step
def _shuffled(num: int, *seed: int) -> Ints:
    """Permutation of 0 to num - 1 that is determined by the seed."""
    return np.random.default_rng(seed).permutation(num)


def derangement(num_groups: int, seed: int) -> Ints:
    """Draw a permutation without a fixed point, for training on shuffled pairs.

    Parameters
    ----------
    num_groups
        Number of proposal groups, at least 2.
    seed
        Seed of the run.

    Returns
    -------
    Ints
        Shape (num_groups,): the group whose texts each group gets.

    Raises
    ------
    DatasetError
        For fewer than 2 groups.

    """
    if num_groups < 2:
        raise DatasetError(
            "shuffled pairs need at least 2 proposal groups in train: add proposals or set train.shuffled = false"
        )
    order = np.random.default_rng([seed, PAIRING_STREAM]).permutation(num_groups)
    partner = np.empty(num_groups, dtype=np.int64)
    partner[order] = np.roll(order, 1)  # one cycle through all groups has no fixed point
    return partner


def positive_ids(group_b: Sequence[int], text_b: Sequence[str]) -> Ints:
    """Ids by which the contrastive loss recognises positive pairs.

    Parameters
    ----------
    group_b
        Group number of each row.
    text_b
        Text of each row.

    Returns
    -------
    Ints
        Shape (b, 2): ids of group and text. Two rows are positives if either is equal.

    Notes
    -----
    The relation is not transitive on purpose: a sentence that all abstracts share would otherwise join all groups.

    """
    text_ids: dict[str, int] = {}
    text_id_b = [text_ids.setdefault(text, len(text_ids)) for text in text_b]
    return np.stack([np.asarray(group_b, np.int64), np.asarray(text_id_b, np.int64)], axis=1)


def draw_views(
    rng: np.random.Generator, num: int, min_crop_share: float, whole_share: float = 0.0
) -> npt.NDArray[np.float32]:
    """Draw random augmentations as affine maps from view to tile coordinates.

    A view is a square crop anywhere inside the tile, rotated by a multiple of 90 degrees and mirrored or not, with
    equal probabilities. It never extends beyond its tile, so no pixel has to be filled.

    Parameters
    ----------
    rng
        Source of the draws.
    num
        Number of views.
    min_crop_share
        Smallest share of the tile's area in a crop, in (0, 1].
    whole_share
        Probability of the whole tile instead of a crop, in [0, 1].

    Returns
    -------
    ndarray
        Shape (num, 2, 3), float32, in coordinates [-1, 1] as `torch.nn.functional.affine_grid` takes them.

    """
    # The order of the draws is fixed: it decides every recorded training.
    side = np.where(rng.random(num) < whole_share, 1, np.sqrt(rng.uniform(min_crop_share, 1, num)))
    centre = rng.uniform(-1, 1, (num, 2)) * (1 - side)[:, None]  # keeps the crop inside [-1, 1]
    quarter, mirror = rng.integers(4, size=num), rng.choice([-1, 1], num)
    cos, sin = np.array([1, 0, -1, 0])[quarter], np.array([0, 1, 0, -1])[quarter]  # exact, unlike np.cos of pi / 2
    rotation = np.stack([np.stack([cos * mirror, -sin], -1), np.stack([sin * mirror, cos], -1)], 1)
    return np.concatenate([side[:, None, None] * rotation, centre[:, :, None]], axis=2).astype(np.float32)
