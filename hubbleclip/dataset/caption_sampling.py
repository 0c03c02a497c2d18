"""Choose at random the text that is paired with a tile in a training step."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache

import numpy as np

from hubbleclip.config.model import FULL_SHARE, OTHER_SHARE
from hubbleclip.core.errors import SettingsError
from hubbleclip.dataset.captions import PHRASE_BREAK, PHRASES, split_sentences

MAIN, SENTENCES = "abstract", "abstract_sentences"
"""Names that `train.captions` uses for the whole main caption, and for a few consecutive sentences of it."""
OTHERS = "others"
"""Name that `train.captions` uses for all captions except the main one."""
DEFAULT_WEIGHTS = {MAIN: FULL_SHARE, OTHERS: OTHER_SHARE, SENTENCES: 1 - FULL_SHARE - OTHER_SHARE}


@dataclass(frozen=True, kw_only=True, eq=False)
class CaptionSampler:
    """Sampler that draws one text from the captions of a sample.

    The text is the whole main caption, one of the other captions, or a few consecutive sentences of the main caption.

    Attributes
    ----------
    max_tokens
        Largest number of tokens of consecutive sentences. If the first sentence alone has more tokens, it is used
        alone.
    count_tokens
        Function that takes a text and returns its number of tokens, without the start token and the end token.
    weights
        Relative probability of each kind of text. A kind that a sample lacks is not drawn for this sample; if the
        sample lacks all kinds, sentences are drawn. Sentences are also drawn in place of `others` if the sample has
        only the main caption.

    """

    max_tokens: int
    count_tokens: Callable[[str], int]
    weights: Mapping[str, float] = field(default_factory=lambda: DEFAULT_WEIGHTS)

    def with_token_shares(
        self, shares: Mapping[str, float], samples: Iterable[tuple[Sequence[str], Sequence[str]]]
    ) -> CaptionSampler:
        """Return a sampler that gives each kind of text its relative share of all drawn tokens, on average."""
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
        """Choose a kind of text among those that the sample has, by a random number in [0, 1)."""
        own = {kind: weight for kind, weight in self.weights.items() if kind in {MAIN, OTHERS, SENTENCES, *kinds}}
        names, cumulative = list(own) or [SENTENCES], np.cumsum(list(own.values()) or [1.0])
        return names[int(np.searchsorted(cumulative, number * cumulative[-1], side="right"))]

    def _num_fitting(self, sentences: Sequence[tuple[str, int]]) -> int:
        """Return how many sentences, from the first one on, fit into the context together; at least one."""
        return max(1, int((np.cumsum([count for _, count in sentences]) <= self.max_tokens).sum()))

    def _mean_tokens(self, kind: str, captions: Sequence[str], kinds: Sequence[str]) -> float:
        """Return the mean number of tokens that the model sees of a text of a kind; 0 if the sample lacks the kind."""
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
