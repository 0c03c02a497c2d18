"""Interface of a caption backend: it takes a source text and returns an answer that follows the schema."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from hubbleclip.captions.schema import Answer


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceText:
    """An abstract with the title and the category of its proposal.

    `title` is empty if several proposals with different titles share the abstract.
    """

    abstract_sha256: str
    abstract: str
    title: str = ""
    category: str | None = None

    @property
    def text(self) -> str:
        """Title and abstract."""
        return f"{self.title}\n{self.abstract}" if self.title else self.abstract


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An answer, with the numbers of tokens of prompt and answer; both are None for a backend without a model."""

    answer: Answer
    prompt_tokens: int | None = None
    answer_tokens: int | None = None


class Backend(Protocol):
    """A writer of answers. Threads may share one object."""

    model: str
    """Name of the model, which becomes part of the caption kind; letters, digits, `.`, `_` and `-`."""
    is_model: bool
    """Whether a language model writes the texts, which are then marked as such."""
    version: int
    """Version of the prompt or of the rules; another version is another caption kind."""

    def prompt(self) -> str:
        """Return what determines the answers besides the source text; the digest of the returned text is recorded.

        Returns
        -------
        str
            The instructions, or the vocabulary of the rules.

        """

    def ask(self, source: SourceText, count_call: Callable[[], int]) -> Reply:
        """Write an answer about one abstract.

        Parameters
        ----------
        source
            The abstract.
        count_call
            Function to call before each request to a model, including each retry. It returns the number of requests
            that were sent about this abstract before, in this run and in earlier ones.

        Returns
        -------
        Reply
            A valid answer.

        Raises
        ------
        AnswerError
            If there is no valid answer about this abstract.
        ArchiveDownError
            If the server is down, so that the run stops.

        """
