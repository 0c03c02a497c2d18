"""Which tiles make up which batch: a pure function of seed and step, so that a run resumes anywhere without replay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from hubbleclip.core.errors import DatasetError

Ints = npt.NDArray[np.int64]
ORDER, TILES, PAIRING_STREAM, AUGMENTATION_STREAM = range(4)  # streams of random numbers, one a purpose


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GroupBatchSampler:
    """Which groups make up a batch, and which tile of each: `rows_of_group` has the row numbers of each group.

    Where there are as many groups as a batch has places, they come in a fresh order each epoch, whose last, smaller
    part is left out. Where there are fewer, they come again and again in one order, which goes on in the next batch. A
    group shows its tiles in turn.
    """

    rows_of_group: Sequence[Ints]
    batch_size: int
    seed: int

    def groups(self, step: int) -> Ints:
        """Group numbers (batch_size,) of a step; each as often as the others, or once more."""
        return self._places(step)[0]

    def rows(self, step: int) -> Ints:
        """Row numbers (batch_size,) of a step. A tile comes twice in a batch only where its group has too few."""
        return np.array([self._tile(int(group), int(turn)) for group, turn in zip(*self._places(step), strict=True)])

    def _places(self, step: int) -> tuple[Ints, Ints]:
        """Group numbers (batch_size,) of a step, and how often each was shown before."""
        num_groups, slot_b = len(self.rows_of_group), np.arange(self.batch_size)
        if num_groups < self.batch_size:
            turn_b, place_b = np.divmod(step * self.batch_size + slot_b, num_groups)
            return _shuffled(num_groups, self.seed, ORDER, 0)[place_b], turn_b
        epoch, batch = divmod(step, num_groups // self.batch_size)
        order = _shuffled(num_groups, self.seed, ORDER, epoch)
        return order[batch * self.batch_size + slot_b], np.full(self.batch_size, epoch)

    def _tile(self, group: int, turn: int) -> int:
        tiles = self.rows_of_group[group]
        return int(tiles[_shuffled(len(tiles), self.seed, TILES, group)[turn % len(tiles)]])


@lru_cache(1 << 17)
def _shuffled(num: int, *seed: int) -> Ints:
    """0 to num - 1 in an order drawn by the seed; kept, since the same orders are asked for at every step."""
    return np.random.default_rng(seed).permutation(num)


def derangement(num_groups: int, seed: int) -> Ints:
    """A seeded permutation (num_groups,) that leaves no group in its place. Raises DatasetError for fewer than 2."""
    if num_groups < 2:
        raise DatasetError(
            "shuffled pairs need at least 2 proposal groups in train: add proposals or set train.shuffled = false"
        )
    order = np.random.default_rng([seed, PAIRING_STREAM]).permutation(num_groups)
    out = np.empty(num_groups, dtype=np.int64)
    out[order] = np.roll(order, 1)
    return out


def positive_ids(group_b: Sequence[int], text_b: Sequence[str]) -> Ints:
    """Ids (b, 2) of each row's group and text: rows are positives of one another where either is equal.

    Never through a third row: a sentence that all abstracts share would make one group of all.
    """
    number_of: dict[str, int] = {}
    texts = [number_of.setdefault(text, len(number_of)) for text in text_b]
    return np.stack([np.asarray(group_b, np.int64), np.asarray(texts, np.int64)], axis=1)


def draw_views(
    rng: np.random.Generator, num: int, min_crop_share: float, whole_share: float = 0.0
) -> npt.NDArray[np.float32]:
    """Affine maps (num, 2, 3) from view to tile in [-1, 1]: a square crop of at least `min_crop_share` of the area,
    anywhere inside, or the whole tile in `whole_share` of the views; turned by a multiple of 90 degrees and mirrored or
    not, each as likely. A view never leaves its tile, so that there is nothing to fill.
    """
    side = np.where(rng.random(num) < whole_share, 1, np.sqrt(rng.uniform(min_crop_share, 1, num)))
    centre = rng.uniform(-1, 1, (num, 2)) * (1 - side)[:, None]
    quarter, mirror = rng.integers(4, size=num), rng.choice([-1, 1], num)
    cos, sin = np.array([1, 0, -1, 0])[quarter], np.array([0, 1, 0, -1])[quarter]
    turn = np.stack([np.stack([cos * mirror, -sin], -1), np.stack([sin * mirror, cos], -1)], 1)
    return np.concatenate([side[:, None, None] * turn, centre[:, :, None]], axis=2).astype(np.float32)
