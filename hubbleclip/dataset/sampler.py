"""Choose the groups, tiles, texts and augmentations of training batches.

The result depends only on the seed and the step, so that a run can be resumed at any step.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache, partial
from itertools import accumulate

import numpy as np
import numpy.typing as npt

from hubbleclip.config.model import FULL_SHARE, OTHER_SHARE
from hubbleclip.core.errors import SettingsError
from hubbleclip.dataset.captions import PHRASE_BREAK, PHRASES, split_sentences

Ints = npt.NDArray[np.int64]
# Each random seed of a run contains one of these numbers, so that the run's random streams are independent.
# The numbers must never change, because otherwise recorded training runs could not be reproduced.
GROUP_STREAM, TILE_STREAM, PAIRING_STREAM, AUGMENTATION_STREAM = range(4)
ORDER_STREAM, CLASS_STREAM = 5, 6
MAIN, SENTENCES = "abstract", "abstract_sentences"
"""Names in `train.captions` for the whole main caption, and for a few consecutive sentences of the main caption."""
OTHERS = "others"
"""Name that `train.captions` uses for all captions except the main one."""
DEFAULT_WEIGHTS = {MAIN: FULL_SHARE, OTHERS: OTHER_SHARE, SENTENCES: 1 - FULL_SHARE - OTHER_SHARE}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GroupBatchSampler:
    """Sampler that chooses a proposal group and one of the group's tiles for each row of a batch.

    The groups take turns in random order. The numbers of rows of any two groups differ by at most 1, both in each batch
    and in total after any number of batches. The tiles of a group take turns in random order too. No tile of a group is
    used twice in succession, unless the group has only one tile.

    Attributes
    ----------
    rows_of_group
        For each group, the row numbers of its tiles.
    batch_size
        Number of tiles per batch, over all processes.
    seed
        Random seed of the run.
    class_of_group
        For each group, the number of its class, such as a pair of category and instrument; groups of one class are hard
        negatives of each other.
    hard_share
        Extra rows are the rows of a batch that remain after every group has received the same number of rows. This
        share of the extra rows is filled with groups of one class if possible, or else of few classes. The share has no
        effect if more than half of the groups receive an extra row.

    """

    rows_of_group: Sequence[Ints]
    batch_size: int
    seed: int
    class_of_group: Ints | None = None
    hard_share: float = 0.0

    def groups(self, step: int) -> Ints:
        """Choose the groups (batch_size,) of a step, in random order."""
        return self._slots(step)[0]

    def rows(self, step: int) -> Ints:
        """Choose a tile of each group of a step, and return the row numbers (batch_size,) of the tiles."""
        return np.array([self._row(int(group), int(visit)) for group, visit in zip(*self._slots(step), strict=True)])

    def _slots(self, step: int) -> tuple[Ints, Ints]:
        """Return the group of each row of a batch, and how often this group was used before, each (batch_size,)."""
        num_groups = len(self.rows_of_group)
        copies, num_extra = divmod(self.batch_size, num_groups)
        arrange = partial(self._by_class, num_extra)
        extra, visit_g = _in_turn(num_groups, num_extra, step, self.seed, GROUP_STREAM, arrange=arrange)
        visit_g += copies * step
        every = np.arange(num_groups)
        group_b = np.concatenate([*[every] * copies, extra])
        visit_b = np.concatenate([*[visit_g + copy for copy in range(copies)], visit_g[extra] + copies])
        order_b = np.random.default_rng([self.seed, ORDER_STREAM, step]).permutation(self.batch_size)
        return group_b[order_b], visit_b[order_b]

    def _by_class(self, num: int, group_n: Ints, cycle: int) -> Ints:
        """Reorder groups so that few classes make up the share `hard_share` of the extra rows of each batch.

        `group_n` contains the groups of the extra rows of several batches, `num` per batch.
        """
        if self.class_of_group is None:
            return group_n
        num_batches, num_hard = len(group_n) // num, round(self.hard_share * num)
        hard, others = np.split(group_n, [num_batches * num_hard])
        classes = self.class_of_group[hard]
        rank = np.random.default_rng([self.seed, CLASS_STREAM, cycle]).permutation(self.class_of_group.max() + 1)
        hard = hard[np.argsort(rank[classes], kind="stable")]
        return np.hstack([hard.reshape(num_batches, -1), others.reshape(num_batches, -1)]).ravel()

    def _row(self, group: int, visit: int) -> int:
        """Return the row number of the next tile of a group that has been used `visit` times."""
        rows = self.rows_of_group[group]
        cycle, position = divmod(visit, len(rows))
        # The last tiles of a cycle must not be among the first tiles of the next cycle, because all these tiles may be
        # in the same batch or in consecutive batches. A group of fewer than `3 * apart` tiles is too small for this, so
        # all its cycles have the same order.
        apart = max(1, self.batch_size // len(self.rows_of_group))
        if len(rows) < 3 * apart:
            cycle, apart = 0, 0
        return int(rows[_cycle_order(len(rows), apart, apart, apart, self.seed, TILE_STREAM, group, cycle)[position]])


def _in_turn(
    num: int, num_chosen: int, step: int, *seed: int, arrange: Callable[[Ints, int], Ints] | None = None
) -> tuple[Ints, Ints]:
    """Choose distinct numbers below `num` at each step, so that all numbers are chosen equally often.

    Returns the numbers (num_chosen,) of a step, and how often each number below `num` was chosen before (num,).
    A cycle contains all numbers once, in random order. Each step chooses the next `num_chosen` numbers of the cycle.
    `arrange(numbers, cycle)` reorders the numbers of a cycle, except the numbers of steps that extend over two cycles.
    If `num_chosen` is more than half of `num`, each step instead chooses all numbers except the next
    `num - num_chosen`, and `arrange` is not called.
    """
    if num_chosen > num // 2:  # fewer numbers are omitted than chosen, so the omitted ones are drawn
        others, times = _in_turn(num, num - num_chosen, step, *seed)
        return np.delete(np.arange(num), others), step - times
    if not num_chosen:
        return np.arange(0), np.zeros(num, np.int64)

    def order_of(cycle: int) -> Ints:
        # A step may take the last numbers of one cycle and the first ones of the next. The order of each cycle ensures
        # that these numbers are distinct.
        begin, end, begin_next = ((-c * num) % num_chosen for c in (cycle, -cycle - 1, cycle + 1))
        order = _cycle_order(num, begin, end, begin_next, *seed, cycle)
        if arrange is None:
            return order
        return np.concatenate([order[:begin], arrange(order[begin : num - end], cycle), order[num - end :]])

    cycle, first = divmod(step * num_chosen, num)
    order = order_of(cycle)
    times = np.full(num, cycle)
    times[order[:first]] += 1
    chosen = order[first : first + num_chosen]
    return np.concatenate([chosen, order_of(cycle + 1)[: num_chosen - len(chosen)]]), times


@lru_cache(1 << 17)  # cached because many steps need the same permutations
def _cycle_order(num: int, begin: int, end: int, begin_next: int, *seed: int) -> Ints:
    """Return the order of the numbers 0 to num - 1 in a cycle; the last element of the seed is the number of the cycle.

    The order is a random permutation, changed so that the last `end` numbers of this cycle are not among the first
    `begin_next` numbers of the next cycle. The first `begin` numbers of this cycle are not moved, because the order of
    the previous cycle depends on them.
    """
    *stream, cycle = seed
    order = np.random.default_rng([*stream, cycle]).permutation(num)
    next_first = np.random.default_rng([*stream, cycle + 1]).permutation(num)[:begin_next]
    first, rest = order[:begin], order[begin:]
    free = rest[~np.isin(rest, next_first)]
    last = free[len(free) - end :]
    return np.concatenate([first, rest[~np.isin(rest, last)], last])


def derangement(num_groups: int, seed: int) -> Ints:
    """Draw a different group as partner of each group, (num_groups,); a control run trains with the partner's texts."""
    order = np.random.default_rng([seed, PAIRING_STREAM]).permutation(num_groups)
    partner = np.empty(num_groups, dtype=np.int64)
    partner[order] = np.roll(order, 1)  # the permutation is one cycle through all groups, so it has no fixed point
    return partner


def positive_ids(group_b: Sequence[int], text_b: Sequence[str]) -> Ints:
    """Return the group id and the text id of each row, (b, 2); two rows are positives if they share either id.

    This relation is deliberately not transitive. If several groups share a sentence, the rows with this sentence are
    positives across the groups. The other rows of these groups are positives only within their own group.
    """
    text_ids: dict[str, int] = {}
    text_id_b = [text_ids.setdefault(text, len(text_ids)) for text in text_b]
    return np.stack([np.asarray(group_b, np.int64), np.asarray(text_id_b, np.int64)], axis=1)


def draw_views(
    rng: np.random.Generator, num: int, min_crop_share: float, whole_share: float = 0.0
) -> npt.NDArray[np.float32]:
    """Draw random augmentations as affine maps (num, 2, 3) from view to tile coordinates, both in [-1, 1].

    A view is a square crop at a random position of the tile. It is rotated by 0, 90, 180 or 270 degrees with equal
    probabilities and mirrored with probability 1/2. A view never extends beyond its tile, so no pixel has to be filled.
    """
    # The order of the draws must never change, because otherwise recorded training runs could not be reproduced.
    side = np.where(rng.random(num) < whole_share, 1, np.sqrt(rng.uniform(min_crop_share, 1, num)))
    centre = rng.uniform(-1, 1, (num, 2)) * (1 - side)[:, None]  # limited so that the crop is inside [-1, 1]
    quarter, mirror = rng.integers(4, size=num), rng.choice([-1, 1], num)
    # The values are exact integers, whereas np.cos(np.pi / 2) is not exactly 0.
    cos, sin = np.array([1, 0, -1, 0])[quarter], np.array([0, 1, 0, -1])[quarter]
    rotation = np.stack([np.stack([cos * mirror, -sin], -1), np.stack([sin * mirror, cos], -1)], 1)
    return np.concatenate([side[:, None, None] * rotation, centre[:, :, None]], axis=2).astype(np.float32)


@dataclass(frozen=True, kw_only=True, eq=False)
class CaptionSampler:
    """Sampler that draws one text from the captions of a sample.

    The text is the whole main caption, one of the other captions, or a few consecutive sentences of the main caption.

    Attributes
    ----------
    max_tokens
        Maximum number of tokens of consecutive sentences together. A first sentence with more tokens is used alone.
    count_tokens
        Function that takes a text and returns its number of tokens, without the start token and the end token.
    weights
        Relative probability of each kind of text. Kinds that a sample lacks are not drawn. Sentences are drawn if the
        sample lacks all kinds, or if the kind is `others` and the sample has only the main caption.

    """

    max_tokens: int
    count_tokens: Callable[[str], int]
    weights: Mapping[str, float] = field(default_factory=lambda: DEFAULT_WEIGHTS)

    def with_token_shares(
        self, shares: Mapping[str, float], samples: Iterable[tuple[Sequence[str], Sequence[str]]]
    ) -> CaptionSampler:
        """Return a sampler that draws, on average, the share `shares[kind]` of all tokens from each kind of text."""
        if not shares:
            return self
        distinct = {(tuple(captions), tuple(kinds)) for captions, kinds in samples}
        weights = {}
        for kind, share in shares.items():
            tokens = [self._mean_tokens(kind, *sample) for sample in distinct]
            known = [num for num in tokens if num]
            if not known:
                raise SettingsError(f"train.captions: no sample has the kind {kind!r}: add it to shards.caption_kinds")
            weights[kind] = share * len(known) / sum(known)
        return replace(self, weights=weights)

    def draw(self, rng: np.random.Generator, captions: Sequence[str], kinds: Sequence[str] = ()) -> str:
        """Draw a text for one sample."""
        # Always draw four numbers, so that the random numbers of the next sample do not depend on the branch taken.
        kind, first, length, other = rng.random(4)
        main, others = captions[0], captions[1:]
        source = self._source(kind, kinds)
        if source == MAIN:
            return main
        if source == OTHERS and others:
            return others[int(other * len(others))]
        if source not in {OTHERS, SENTENCES}:
            phrases = _phrases(captions[list(kinds).index(source)], source)
            return phrases[int(first * len(phrases))]
        sentences = self._sentences_of(main)
        start = int(first * len(sentences))
        num_fitting = self._num_fitting(sentences[start:])
        return " ".join(text for text, _ in sentences[start : start + 1 + int(length * num_fitting)])

    def _source(self, number: float, kinds: Sequence[str]) -> str:
        """Choose a kind of text that the sample has, by the weights and a random number in [0, 1)."""
        own = {kind: weight for kind, weight in self.weights.items() if kind in {MAIN, OTHERS, SENTENCES, *kinds}}
        names, cumulative = list(own) or [SENTENCES], list(accumulate(own.values())) or [1.0]
        return names[bisect_right(cumulative, number * cumulative[-1])]

    def _num_fitting(self, sentences: Sequence[tuple[str, int]]) -> int:
        """Return how many sentences, counted from the first, have at most `max_tokens` tokens in total; at least 1."""
        return max(1, int((np.cumsum([count for _, count in sentences]) <= self.max_tokens).sum()))

    def _mean_tokens(self, kind: str, captions: Sequence[str], kinds: Sequence[str]) -> float:
        """Return the mean number of tokens per text of one kind, after truncation; 0 if the sample lacks the kind."""
        if kind == SENTENCES:
            sentences = self._sentences_of(captions[0])
            means = []
            for start in range(len(sentences)):
                counts = [count for _, count in sentences[start:]][: self._num_fitting(sentences[start:])]
                means.append(np.minimum(np.cumsum(counts), self.max_tokens).mean())
            return float(np.mean(means))
        if kind != MAIN and kind not in kinds:
            return 0.0
        text = captions[0] if kind == MAIN else captions[list(kinds).index(kind)]
        return float(np.mean([min(self.count_tokens(part), self.max_tokens) for part in _phrases(text, kind)]))

    @cached_property
    def _sentences_of(self) -> Callable[[str], list[tuple[str, int]]]:
        """Function that splits a text into sentences and counts their tokens; cached, because tokenizing is slow."""
        # A text that contains only white space has no sentences and is returned unchanged.
        return lru_cache(1 << 16)(lambda text: [(s, self.count_tokens(s)) for s in split_sentences(text) or [text]])


def _phrases(text: str, kind: str) -> list[str]:
    """Split a caption of the kind `phrases` into its phrases; captions of other kinds stay whole."""
    return text.split(PHRASE_BREAK) if kind == PHRASES else [text]
