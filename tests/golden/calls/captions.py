"""Short makers of texts and answers for the calls in `captions.json`."""

import io
from types import SimpleNamespace
from typing import Any

import requests

from hubbleclip.captions.backends.base import Reply, SourceText
from hubbleclip.captions.backends.openai_compatible import OpenAICompatible
from hubbleclip.captions.schema import Answer
from hubbleclip.captions.vocabulary import Term, find_terms, read_vocabulary
from hubbleclip.config.captions import CaptionSettings


def source(title: str = "", abstract: str = "", category: str | None = None) -> SourceText:
    return SourceText(abstract_sha256="a" * 64, abstract=abstract, title=title, category=category)


def answer(**changes: Any) -> Answer:
    """A valid answer with some values of its own."""
    lists: dict[str, Any] = {"objects": ["ab"], "phenomena": [], "science_aims": ["ab"], "target_names": []}
    return Answer(**lists | {"category": "Stars", "summary": "ab", "search_phrases": ["ab"] * 3} | changes)


def client(**settings: Any) -> OpenAICompatible:
    return OpenAICompatible(CaptionSettings(**{"model": "m"} | settings), key="")


def response(status: int, content: bytes) -> requests.Response:
    """The response of a server."""
    made = requests.Response()
    made.status_code, made.raw = status, io.BytesIO(content)
    return made


def terms(names: list[str]) -> list[Term]:
    return [Term(name, "") for name in names]


def object_names(text: str) -> list[str]:
    """Names of the objects in a text, by the vocabulary."""
    return [term.name for term in find_terms(text, read_vocabulary().objects, read_vocabulary().modifiers)]


def backend(**changes: Any) -> SimpleNamespace:
    """A language model that gives this answer at its first request; the tokens of the prompt count its requests."""
    given = {"model": "m", "version": 1, "is_model": True, "prompt": lambda: "p"}
    return SimpleNamespace(ask=lambda _, calls: Reply(answer=answer(**changes), prompt_tokens=1 + calls()), **given)
