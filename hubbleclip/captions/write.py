"""Ask a backend about one abstract, ground the answer, and store it at once, so that the next run need not ask again.

Grounding means: each object and each target in the answer must occur in the title or in the abstract.
"""

from __future__ import annotations

import logging
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from pydantic import TypeAdapter

from hubbleclip.captions.backends import writer_name
from hubbleclip.captions.backends.base import Backend, SourceText
from hubbleclip.captions.schema import SCHEMA_VERSION, Answer
from hubbleclip.captions.vocabulary import find_targets, find_terms, normal_form, plain_form, read_vocabulary
from hubbleclip.contracts.validation import whole
from hubbleclip.core.errors import AnswerError, ContractError, detail_of
from hubbleclip.core.io import read_bounded, sha256_bytes, write_bytes
from hubbleclip.core.layout import Layout
from hubbleclip.core.records import AbstractSummary

log = logging.getLogger(__name__)
STORED = TypeAdapter(AbstractSummary)


def write_summary(source: SourceText, backend: Backend, seed: int, layout: Layout) -> AbstractSummary:
    """Return what a backend writes about an abstract; an answer that is already stored is read from its file."""
    writer = writer_name(backend, seed)
    path = layout.caption_answer(f"{source.abstract_sha256} {writer}")
    stored = read_stored(path)
    if stored is not None:
        return stored
    calls = path.with_suffix(".calls")
    call_times: list[float] = []  # stays empty if no model is asked; `duration_s` is then 0

    def before_call() -> int:
        call_times.append(time.monotonic())
        return count_call(calls)

    reply = backend.ask(source, before_call)
    took_s = round(time.monotonic() - call_times[0], 3) if call_times else 0.0
    grounded = ground(reply.answer, source.text, is_model=backend.is_model)
    summary = AbstractSummary(
        abstract_sha256=source.abstract_sha256,
        writer=writer,
        is_model=backend.is_model,
        model=backend.model,
        prompt_version=backend.version,
        prompt_digest=sha256_bytes(backend.prompt().encode())[:16],
        schema_version=SCHEMA_VERSION,
        seed=seed,
        **grounded.answer.model_dump(),
        ungrounded=grounded.dropped,
        num_named=grounded.num_checked,
        num_calls=calls.stat().st_size if calls.is_file() else 0,
        prompt_tokens=reply.prompt_tokens,
        answer_tokens=reply.answer_tokens,
        duration_s=took_s,
        answered_at=datetime.now(UTC),
    )
    try:
        whole({"abstract_summary": [summary]})
    except ContractError as error:
        raise AnswerError("invalid_answer", f"the answer breaks the data contract: {error}") from error
    # An answer by rules is not stored, because making it again is faster than writing a file.
    if backend.is_model:
        write_bytes(path, STORED.dump_json(summary))
    return summary


def read_stored(path: Path) -> AbstractSummary | None:
    """Read a stored answer; None if there is none. An invalid file is renamed, so that the backend is asked again."""
    try:
        summary = STORED.validate_json(read_bounded(path))
        whole({"abstract_summary": [summary]})
    except FileNotFoundError:
        return None
    except (ValueError, ContractError) as error:
        path.replace(path.with_suffix(".refused"))
        log.warning("captions: the stored answer %s is invalid, so a new one is requested: %s", path, detail_of(error))
        return None
    return summary


def count_call(path: Path) -> int:
    """Count a request before it is sent: append one byte to a file, and return the number of earlier requests."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        num_before = file.tell()
        file.write(b".")
    return num_before


class Grounded(NamedTuple):
    """A grounded answer, the dropped objects and targets, and the number of objects and targets that were checked.

    The lists of `answer` may be shorter than the schema demands.
    """

    answer: Answer
    dropped: list[str]
    num_checked: int


def is_grounded(phrase: str, text: str) -> bool:
    """Test whether a phrase occurs in a text, regardless of singular or plural and of synonyms in the vocabulary."""
    return any(bool(form(phrase)) and f" {form(phrase)} " in f" {form(text)} " for form in (plain_form, normal_form))


def ground(answer: Answer, text: str, *, is_model: bool = True) -> Grounded:
    """Drop from an answer the objects and targets that are not in the text, and the search phrases with proper names.

    The answer of a language model is checked further. A phenomenon or search phrase is dropped if it names an object or
    target that is not in the text. A summary with such a name is replaced by the list of the kept objects and targets.
    Raises AnswerError if the summary is then empty.
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
    """Test whether a phrase contains a proper name: one of the answer's targets, or a designation."""
    words = f" {normal_form(phrase)} "
    return bool(find_targets(phrase)) or any(f" {normal_form(name)} " in words for name in target_names)
