"""Choose at random the text that is paired with a tile in a training step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from hubbleclip.dataset.captions import split_sentences


@dataclass(frozen=True, kw_only=True, eq=False)
class CaptionSampler:
    """Sampler that draws one text from the captions of a sample.

    The text is the whole main caption, one of the other captions, or a few consecutive sentences of the main caption.

    Attributes
    ----------
    full_share
        Probability that the text is the whole main caption, in [0, 1].
    other_share
        Probability that the text is one of the other captions, in [0, 1]. If the sample has no other captions,
        sentences of the main caption are drawn instead.
    max_tokens
        Largest number of tokens of consecutive sentences. If the first sentence alone has more tokens, it is used
        alone.
    count_tokens
        Function that takes a text and returns its number of tokens, without the start token and the end token.

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
            Random generator. Every call draws exactly four numbers from it.
        captions
            Captions of the sample, the main caption first.

        Returns
        -------
        str
            A caption, or consecutive sentences of the main caption joined by spaces.

        """
        # Always draw four numbers, so that the random numbers of the next sample do not depend on the branch taken.
        kind, first, length, other = rng.random(4)
        main, others = captions[0], captions[1:]
        if kind < self.full_share:
            return main
        if others and kind < self.full_share + self.other_share:
            return others[int(other * len(others))]
        sentences = self._sentences_of(main)
        start = int(first * len(sentences))
        counts = [count for _, count in sentences[start:]]
        num_fitting = max(1, int((np.cumsum(counts) <= self.max_tokens).sum()))
        return " ".join(text for text, _ in sentences[start : start + 1 + int(length * num_fitting)])

    @cached_property
    def _sentences_of(self) -> Callable[[str], list[tuple[str, int]]]:
        """Function that splits a text into sentences and counts their tokens; cached, because tokenizing is slow."""
        # A text that contains only white space has no sentences and is returned unchanged.
        return lru_cache(1 << 16)(lambda text: [(s, self.count_tokens(s)) for s in split_sentences(text) or [text]])
