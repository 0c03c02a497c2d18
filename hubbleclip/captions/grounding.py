"""Grounding: each object and target that an answer names must occur in the title or the abstract."""

from __future__ import annotations

from typing import NamedTuple

from hubbleclip.captions.schema import Answer
from hubbleclip.captions.targets import find_targets
from hubbleclip.captions.vocabulary import find_terms, normal_form, plain_form, read_vocabulary
from hubbleclip.core.errors import AnswerError


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


def ground(answer: Answer, text: str, *, is_model: bool = True) -> Grounded:
    """Drop, from an answer, objects and targets that are not in the text, and search phrases with proper names.

    If a model wrote the answer, a phenomenon or search phrase is also dropped if it names an object or target that is
    not in the text; a summary that does so is replaced by the list of the kept objects and targets. Raises AnswerError
    if the summary is then empty.
    """
    named = [*answer.objects, *answer.target_names]
    dropped = [phrase for phrase in named if not is_grounded(phrase, text)]
    objects, targets = ([one for one in found if one not in dropped] for found in (answer.objects, answer.target_names))
    phenomena, summary = answer.phenomena, answer.summary
    phrases = [phrase for phrase in answer.search_phrases if not has_name(phrase, answer.target_names)]
    if is_model:
        phenomena, phrases = ([one for one in found if names_only(one, text)] for found in (phenomena, phrases))
        summary = summary if names_only(summary, text) else ", ".join([*objects, *targets])
    if not summary:
        raise AnswerError("invalid_answer", "the answer names nothing that is in the title or the abstract")
    kept: dict[str, object] = {"objects": objects, "target_names": targets, "phenomena": phenomena}
    kept |= {"search_phrases": phrases, "summary": summary}
    return Grounded(answer.model_copy(update=kept), dropped, len(named))


def names_only(phrase: str, text: str) -> bool:
    """Test whether the text contains everything that a phrase names: targets, and objects of the vocabulary."""
    terms = [found.name for found in find_terms(phrase, read_vocabulary().objects)]
    return all(is_grounded(name, text) for name in [*terms, *find_targets(phrase)])


def has_name(phrase: str, target_names: list[str]) -> bool:
    """Test whether a phrase holds a proper name: one of the answer's targets, or a designation."""
    words = f" {normal_form(phrase)} "
    return bool(find_targets(phrase)) or any(f" {normal_form(name)} " in words for name in target_names)
