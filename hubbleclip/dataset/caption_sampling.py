"""Random choice of the text that a tile is paired with at a training step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from hubbleclip.dataset.captions import split_sentences


@dataclass(frozen=True, kw_only=True, eq=False)
class CaptionSampler:
    """Draws one text from a sample's captions.

    Attributes
    ----------
    full_share
        Probability of the whole main caption, in [0, 1].
    other_share
        Probability of one of the other captions, in [0, 1]; without others it falls to the sentences.
    max_tokens
        Token limit of a run of consecutive sentences of the main caption, drawn in all other cases. A single sentence
        may exceed it.
    count_tokens
        Text to its number of tokens, without start and end tokens.

    """

    full_share: float
    other_share: float
    max_tokens: int
    count_tokens: Callable[[str], int]

    def draw(self, rng: np.random.Generator, captions: Sequence[str]) -> str:
        """Draw a text for one sample.

        Parameters
        ----------
        rng
            Advanced by four uniform numbers, whichever text is drawn.
        captions
            Captions of the sample, the main one first.

        Returns
        -------
        str
            A caption, or consecutive sentences of the main one joined by blanks.

        """
        # Four draws in every branch, so that one sample's branch does not shift the random numbers of the next.
        kind, first, length, other = rng.random(4)
        main, others = captions[0], captions[1:]
        if kind < self.full_share:
            return main
        if others and kind < self.full_share + self.other_share:
            return others[int(other * len(others))]
        sentences = self._sentences_of(main)
        start = int(first * len(sentences))
        num_fitting = self._num_fitting([count for _, count in sentences[start:]])
        return " ".join(text for text, _ in sentences[start : start + 1 + int(length * num_fitting)])

    def _num_fitting(self, counts: Sequence[int]) -> int:
        """Number of leading sentences that fit into `max_tokens`, at least one."""
        return max(1, int((np.cumsum(counts) <= self.max_tokens).sum()))

    @cached_property
    def _sentences_of(self) -> Callable[[str], tuple[tuple[str, int], ...]]:
        """Cached split of a text into (sentence, number of tokens) pairs; tokenizing dominates the cost."""

        @lru_cache(maxsize=1 << 16)
        def split(text: str) -> tuple[tuple[str, int], ...]:
            # A text without a sentence (blanks only) is returned as it is.
            return tuple((part, self.count_tokens(part)) for part in split_sentences(text) or [text])

        return split
