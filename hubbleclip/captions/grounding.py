"""Grounding: each object and target that an answer names must occur in the title or the abstract."""

from __future__ import annotations

from typing import NamedTuple

from hubbleclip.captions.schema import Answer
from hubbleclip.captions.targets import find_targets
from hubbleclip.captions.vocabulary import normal_form, plain_form


class Grounded(NamedTuple):
    """A grounded answer, the objects and targets that were dropped from it, and the number of those that were checked.

    The lists of `answer` may be shorter than the schema demands.
    """

    answer: Answer
    dropped: list[str]
    num_checked: int


def is_grounded(phrase: str, text: str) -> bool:
    """Test whether a phrase occurs in a text, in the singular or plural, or as a synonym of the vocabulary."""
    return any(bool(form(phrase)) and f" {form(phrase)} " in f" {form(text)} " for form in (plain_form, normal_form))


def ground(answer: Answer, text: str) -> Grounded:
    """Drop, from an answer, objects and targets that are not in the text, and search phrases with proper names."""
    named = [*answer.objects, *answer.target_names]
    dropped = [phrase for phrase in named if not is_grounded(phrase, text)]
    kept = answer.model_copy(
        update={
            "objects": [phrase for phrase in answer.objects if phrase not in dropped],
            "target_names": [phrase for phrase in answer.target_names if phrase not in dropped],
            "search_phrases": [phrase for phrase in answer.search_phrases if not has_name(phrase, answer.target_names)],
        }
    )
    return Grounded(kept, dropped, len(named))


def has_name(phrase: str, target_names: list[str]) -> bool:
    """Test whether a phrase holds a proper name: one of the answer's targets, or a designation."""
    words = f" {normal_form(phrase)} "
    return bool(find_targets(phrase)) or any(f" {normal_form(name)} " in words for name in target_names)
