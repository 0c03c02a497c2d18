"""Which words of a proposal stand beside a tile in training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from hubbleclip.dataset.captions import split_sentences


@dataclass(frozen=True, kw_only=True, eq=False)
class CaptionSampler:
    """Draws one text of a sample's captions, whose first is the main one.

    `full_share` of the draws give the whole main caption, `other_share` one of the others where there are any, the rest
    a run of consecutive sentences that fits `max_tokens` as `count_tokens` counts; one sentence alone may be longer.
    """

    full_share: float
    other_share: float
    max_tokens: int
    count_tokens: Callable[[str], int]

    def draw(self, rng: np.random.Generator, captions: Sequence[str]) -> str:
        """One text for a sample. The same number of random numbers is drawn for every choice."""
        which, first, length, other = rng.random(4)
        main, others = captions[0], captions[1:]
        if which < self.full_share:
            return main
        if others and which < self.full_share + self.other_share:
            return others[int(other * len(others))]
        sentences = self._sentences(main)
        start = int(first * len(sentences))
        fitting = self._fitting([count for _, count in sentences[start:]])
        return " ".join(text for text, _ in sentences[start : start + 1 + int(length * fitting)])

    def _fitting(self, counts: Sequence[int]) -> int:
        """How many sentences fit from the first on, at least one."""
        return max(1, int((np.cumsum(counts) <= self.max_tokens).sum()))

    def _sentences(self, text: str) -> tuple[tuple[str, int], ...]:
        return self._split(text)

    @cached_property
    def _split(self) -> Callable[[str], tuple[tuple[str, int], ...]]:
        """Sentences of a text with their tokens, counted once: tokenizing is what costs."""

        @lru_cache(maxsize=1 << 16)
        def split(text: str) -> tuple[tuple[str, int], ...]:
            return tuple((part, self.count_tokens(part)) for part in split_sentences(text) or [text])

        return split
