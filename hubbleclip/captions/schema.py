"""Schema of the answer that a backend writes about the abstract of a proposal."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema

from hubbleclip.core.errors import CONTROL, AnswerError
from hubbleclip.core.io import from_json

SCHEMA_VERSION = 1
"""Version of the schema. Raise it with any change of the fields or of their bounds."""
MAX_SUMMARY_WORDS = 40
MARKUP = re.compile(r"</?[a-zA-Z!][^<>]*>|\b(?:https?://|www\.)\S+|\S+@\S+\.\S+")
"""Matches HTML tags, URLs and e-mail addresses. No answer needs them, and a browser or terminal may interpret them."""

Category = Literal[
    "Solar System",
    "Exoplanets and Planet Formation",
    "Stars",
    "Stellar Populations and the Interstellar Medium",
    "Galaxies",
    "Black Holes and Active Galaxies",
    "Intergalactic and Circumgalactic Medium",
    "Large Scale Structure",
    "Calibration",
]
"""The science categories of the Hubble and Webb calls for proposals, and calibration."""


WORD = r'[^ "\\\n\r\t]{1,24}'
"""Regular expression of one word. The patterns in the JSON schema repeat this expression to limit the number of words,
because JSON Schema has no keyword for such a limit.
"""


def _plain(text: object) -> object:
    """Remove control characters, markup and addresses from a text; return any other value unchanged."""
    return " ".join(MARKUP.sub(" ", CONTROL.sub(" ", text)).split()) if isinstance(text, str) else text


def _bounded_words(most: int) -> tuple[BeforeValidator, AfterValidator, WithJsonSchema]:
    """Make annotations that clean a text and limit its number of words; the JSON schema has the same limit."""

    def check(text: str) -> str:
        if len(text.split()) > most:
            raise ValueError(f"has {len(text.split())} words, at most {most} are allowed")
        return text

    # The schema has no limit on characters, because some servers ignore the pattern if a schema also has such a limit.
    schema = WithJsonSchema({"type": "string", "pattern": f"^{WORD}( {WORD}){{0,{most - 1}}}$"})
    return BeforeValidator(_plain), AfterValidator(check), schema


Phrase = Annotated[str, Field(min_length=2, max_length=80), *_bounded_words(10)]
Aim = Annotated[str, Field(min_length=2, max_length=160), *_bounded_words(20)]
Summary = Annotated[str, Field(min_length=2, max_length=400), *_bounded_words(MAX_SUMMARY_WORDS)]


class Answer(BaseModel):
    """What a backend writes about one abstract. The bounds hold before the grounding removes phrases."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    objects: list[Phrase] = Field(min_length=1, max_length=6)
    """Kinds of objects that the images show, as short noun phrases."""
    phenomena: list[Phrase] = Field(max_length=5)
    """Physical phenomena that are studied."""
    science_aims: list[Aim] = Field(min_length=1, max_length=4)
    """What the proposal wants to measure or to find out."""
    target_names: list[Phrase] = Field(max_length=5)
    """Proper names and designations of the targets, as in the text."""
    category: Annotated[Category, BeforeValidator(_plain)]
    """Science category."""
    summary: Summary
    """Summary of at most 40 words."""
    search_phrases: list[Phrase] = Field(min_length=3, max_length=8)
    """Short queries that the images of this proposal should answer, without proper names."""


def without_fence(text: str) -> str:
    """Remove the Markdown code fence that some models write around an answer."""
    return text.strip().removeprefix("```json").removeprefix("```").removesuffix("```")


def parse_answer(text: str) -> Answer:
    """Parse and validate an answer, because not every server enforces the schema."""
    try:
        return Answer.model_validate(from_json(without_fence(text)))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise AnswerError("invalid_answer", f"the answer breaks the schema at {place}: {first['msg']}") from error
    except ValueError as error:
        raise AnswerError("invalid_json", f"the answer is not JSON: {error}") from error
