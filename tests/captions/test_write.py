"""What is stored with an answer."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from test_schema import GOOD

from hubbleclip.captions.backends.base import Reply, SourceText
from hubbleclip.captions.backends.rules import Rules
from hubbleclip.captions.schema import Answer
from hubbleclip.captions.write import write_summary
from hubbleclip.core.errors import AnswerError
from hubbleclip.core.io import sha256_bytes
from hubbleclip.core.layout import Layout

SOURCE = SourceText(abstract_sha256="ab" * 32, abstract="A barred spiral galaxy.")


class Queued:
    """A backend that waits 5 s for its turn, as the embedded model does, and then asks twice, each for 1 s."""

    is_model, version, model = True, 1, "queued"

    def __init__(self, tokens: int | type[BaseException] = 90) -> None:
        self.tokens, self.now_s = tokens, 100.0

    def prompt(self) -> str:
        return "Describe."

    def ask(self, source: SourceText, count_call: Callable[[], int]) -> Reply:
        self.now_s += 5
        count_call()
        self.now_s += 1
        count_call()
        self.now_s += 1
        if isinstance(self.tokens, type):
            raise self.tokens
        return Reply(answer=Answer.model_validate(GOOD), prompt_tokens=self.tokens, answer_tokens=7)


def test_the_row_says_how_the_answer_was_made_and_a_killed_run_loses_no_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    queued, layout = Queued(), Layout(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        write_summary(SOURCE, Queued(KeyboardInterrupt), 7, layout)
    monkeypatch.setattr("hubbleclip.captions.write.time", SimpleNamespace(monotonic=lambda: queued.now_s))
    row = write_summary(SOURCE, queued, 7, layout)
    assert write_summary(SOURCE, Queued(KeyboardInterrupt), 7, layout) == row
    expected = {
        "abstract_sha256": "ab" * 32,
        "writer": "queued-1.1.7",
        "is_model": True,
        "model": "queued",
        "prompt_version": 1,
        "prompt_digest": sha256_bytes(b"Describe.")[:16],
        "schema_version": 1,
        "seed": 7,
        "ungrounded": ["NGC 1300"],
        "num_named": 2,
        "num_calls": 4,
        "prompt_tokens": 90,
        "answer_tokens": 7,
        "duration_s": 2.0,
    } | GOOD
    expected |= {"target_names": [], "search_phrases": ["barred spiral"]}
    assert {name: getattr(row, name) for name in expected} == expected
    titled = SourceText(abstract_sha256="cd" * 32, abstract=SOURCE.abstract, title="Gas of NGC 1300")
    assert write_summary(titled, Queued(), 7, layout).ungrounded == []


def test_an_answer_of_rules_took_no_call_and_is_made_again_and_not_stored(tmp_path: Path) -> None:
    row = write_summary(SOURCE, Rules(), 7, Layout(tmp_path))
    assert (row.writer, row.is_model, row.num_calls, row.prompt_tokens, row.duration_s) == (
        "rules-1.1",
        False,
        0,
        None,
        0,
    )
    assert row.objects == ["barred spiral galaxy"] and not any(path.is_file() for path in tmp_path.rglob("*"))


def test_an_answer_that_breaks_the_contract_is_not_kept_and_a_stored_one_is_asked_for_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    layout = Layout(tmp_path)
    with pytest.raises(AnswerError, match="data contract"):
        write_summary(SOURCE, Queued(10**19), 1, layout)
    good = write_summary(SOURCE, Queued(), 1, layout)
    (path,) = [path for path in tmp_path.rglob("*") if path.suffix not in {".calls", ""} and path.is_file()]
    path.write_text(path.read_text().replace('"prompt_tokens":90,', f'"prompt_tokens":{10**19},'))
    again = write_summary(SOURCE, Queued(), 1, layout)
    assert (again.summary, again.prompt_tokens, again.num_calls) == (good.summary, 90, 6)
    assert f"{path} is invalid" in caplog.text and path.with_suffix(".refused").exists()
