"""Interface of a caption backend, which takes a source text and returns an answer; see `captions/schema.py`."""

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
    """An answer, and the token counts of prompt and answer. A count is None if it is unknown or no model is used."""

    answer: Answer
    prompt_tokens: int | None = None
    answer_tokens: int | None = None


class Backend(Protocol):
    """A program that writes answers by rules or by a language model. Several threads may use the same object."""

    model: str
    """Name of the model: letters, digits, `.`, `_` and `-`. In a stored answer, `writer` begins with this name."""
    is_model: bool
    """Whether a language model writes the answers; each stored answer has this value in its column `is_model`."""
    version: int
    """Version of the prompt or the rules. If the version changes, all captions are written again."""

    def prompt(self) -> str:
        """Return the fixed text on which all answers depend. Each stored answer has the digest of this text.

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
            Function to call before each request to a model, including each retry. It returns the number of earlier
            requests about this abstract, in this run and in all earlier runs.

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
