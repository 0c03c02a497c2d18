"""The client of OpenAI-compatible servers validates each answer, retries what may pass, and keeps the key secret."""

import logging
from contextlib import nullcontext
from dataclasses import replace
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from stub_server import FAULTS, StubServer

from hubbleclip.captions.backends import openai_compatible, writer_of
from hubbleclip.captions.backends.base import Reply, SourceText
from hubbleclip.captions.backends.openai_compatible import (
    INSTRUCTIONS,
    JUDGEMENT,
    LIMITS,
    PROMPT_VERSION,
    RETRY_TEMPERATURE,
    OpenAICompatible,
    confirm_address,
)
from hubbleclip.captions.schema import SCHEMA_VERSION, Answer
from hubbleclip.config.captions import MAX_ANSWER_TOKENS
from hubbleclip.config.settings import CaptionSettings, read_settings
from hubbleclip.core.errors import AnswerError, ArchiveDownError, SettingsError
from hubbleclip.core.io import sha256_bytes

QUICK = replace(LIMITS, attempts=3, backoff_s=0.01)
SOURCE = SourceText(abstract_sha256="0" * 64, title="Gas", abstract="We image nebula 7.")


def settings(**changes: Any) -> CaptionSettings:
    return CaptionSettings(**({"backend": "openai", "model": "org/small", "timeout_s": 5.0} | changes))


def ask(stub: StubServer, **changes: Any) -> tuple[Reply, int]:
    calls = count()
    client = OpenAICompatible(settings(base_url=f"{stub.url}/", **changes), limits=QUICK)
    return client.ask(SOURCE, lambda: next(calls)), next(calls)


def test_the_request_has_the_schema_the_seed_and_the_abstract() -> None:
    with StubServer() as stub:
        reply, num_calls = ask(stub, seed=7)
    (request,) = stub.requests
    assert stub.seen[0]["path"] == "/v1/chat/completions"
    assert request == {
        "model": "org/small",
        "messages": [
            {"role": "system", "content": INSTRUCTIONS},
            {"role": "user", "content": "Title: Gas\nAbstract: We image nebula 7."},
        ],
        "temperature": 0.0,
        "seed": 7,
        "max_tokens": MAX_ANSWER_TOKENS,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "caption", "schema": Answer.model_json_schema(), "strict": True},
        },
    }
    assert writer_of(settings(seed=7)) == "org-small-3.1.7"
    assert (reply.answer.summary, reply.prompt_tokens, reply.answer_tokens, num_calls) == ("Nebula 7.", 400, 100, 1)


def test_a_server_may_count_no_tokens() -> None:
    with StubServer(lambda abstract: ["no usage"]) as stub:
        reply, num_calls = ask(stub)
    assert (reply.prompt_tokens, reply.answer_tokens, num_calls) == (None, None, 1)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_retried_and_counted(fault: str) -> None:
    with StubServer(lambda abstract: [fault]) as stub:
        reply, num_calls = ask(stub, timeout_s=0.3 if fault == "hang" else 5.0)
    assert (reply.answer.summary, num_calls, len(stub.requests)) == ("Nebula 7.", 2, 2)


def test_a_later_run_has_seeds_of_its_own_because_the_same_answer_would_fail_again() -> None:
    calls = count(3)
    with StubServer(lambda abstract: ["not json"]) as stub:
        client = OpenAICompatible(settings(base_url=stub.url, seed=7), limits=QUICK)
        client.ask(replace(SOURCE, title=""), lambda: next(calls))
    assert [(one["seed"], one["temperature"]) for one in stub.requests] == [(10, 0.4), (11, 0.4)]
    assert stub.requests[1]["messages"][1]["content"] == "Abstract: We image nebula 7."


@pytest.mark.parametrize(
    ("fault", "reason", "num", "said"),
    [
        ("not json", "invalid_json", 3, "is not JSON"),
        ("bad schema", "invalid_answer", 3, "category"),
        ("hang", "server_failure", 3, r"captions\.timeout_s"),
        ("400", "refused", 1, r'refuses the request \(400\): {"error": "no"}'),
    ],
)
def test_what_fails_each_time_is_an_error_of_this_abstract(fault: str, reason: str, num: int, said: str) -> None:
    with StubServer(lambda abstract: [fault] * 9) as stub, pytest.raises(AnswerError, match=said) as caught:
        ask(stub, timeout_s=0.2 if fault == "hang" else 5.0)
    assert (caught.value.reason, len(stub.requests)) == (reason, num)


def test_a_server_that_is_not_there_stops_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hubbleclip.archives.http.client.FIRST_CONTACT_S", 0.1)
    with StubServer() as stub:
        pass
    with pytest.raises(ArchiveDownError, match=r"start the model's server, or set captions\.base_url"):
        ask(stub)


def test_the_key_is_sent_and_never_shown(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("OPENAI_API_KEY", " sk-secret\n")
    with StubServer(lambda abstract: ["500", "401"]) as stub, pytest.raises(SettingsError) as caught:
        ask(stub)
    assert stub.seen[0]["Authorization"] == "Bearer sk-secret"
    shown = f"{caught.value!r} {caught.value.__cause__!r} {caplog.text} {settings()!r}"
    assert "sk-secret" not in shown
    assert "check captions.base_url, captions.model and the key in OPENAI_API_KEY" in str(caught.value)


@pytest.mark.parametrize("status", ["307", "403", "404", "405"])
def test_a_wrong_address_stops_the_run_and_no_redirect_is_followed(status: str) -> None:
    said = rf"{status}.*captions\.base_url"
    with StubServer(lambda abstract: [status]) as stub, pytest.raises(SettingsError, match=said):
        ask(stub)
    assert len(stub.requests) == 1


@pytest.mark.parametrize(
    ("scheme", "key", "message"),
    [("http", "sk-secret", "unencrypted"), *(("https", f"sk{sign}k", "no HTTP header may have") for sign in "é\x07\n")],
)
def test_a_key_that_others_could_read_or_no_header_may_have_is_not_sent(
    scheme: str, key: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(SettingsError, match=message):
        OpenAICompatible(settings(base_url=f"{scheme}://example.org/v1"))


@pytest.mark.parametrize(
    ("given_by", "answer", "is_confirmed"),
    [
        ("--set", "", True),
        ("environment", "", True),
        ("file", "", False),
        ("file", "n", False),
        ("file", " ", False),
        ("file", " Y", True),
        ("file", "yes", True),
    ],
)
def test_the_key_goes_to_an_address_that_a_person_gave_or_confirmed(
    given_by: str, answer: str, is_confirmed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a terminal, here an empty answer, no question is asked."""
    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: bool(answer)))
    answers = [answer]
    monkeypatch.setattr("builtins.input", lambda question: answers.pop())
    url, file = f"https://{given_by}{answer.strip()}.example/v1", tmp_path / "mine.toml"
    file.write_text(f'[captions]\nbase_url = "{url if given_by == "file" else "https://other.example/v1"}"\n')
    if given_by == "environment":
        monkeypatch.setenv("HUBBLECLIP_CAPTIONS__BASE_URL", url)
    found = read_settings(str(file), {"captions": {"base_url": url}} if given_by == "--set" else {})
    assert found.captions.base_url == url
    with nullcontext() if is_confirmed else pytest.raises(SettingsError, match=f"is not sent to {url}"):
        confirm_address(url)
        confirm_address(url)  # is asked for once


def test_no_request_is_sent_with_a_key_to_an_unconfirmed_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai_compatible, "LOOPBACK", frozenset())
    with StubServer() as stub:
        monkeypatch.setattr(openai_compatible, "UNCONFIRMED", {stub.url})
        client = OpenAICompatible(settings(base_url=stub.url), key="sk-secret")
        with pytest.raises(SettingsError, match="is not sent to"):
            client.ask(SOURCE, lambda: 0)
    assert not stub.requests


def test_a_changed_prompt_has_a_new_version() -> None:
    """If this fails, raise PROMPT_VERSION or SCHEMA_VERSION, and write the new digest here."""
    text = OpenAICompatible(settings()).prompt() + repr(Answer.model_json_schema())
    assert (PROMPT_VERSION, SCHEMA_VERSION, sha256_bytes(text.encode())[:16]) == (3, 1, "d95ea13b0f23036e")


def test_a_picture_is_graded_and_a_bad_grade_is_asked_for_again() -> None:
    with StubServer() as stub:
        grades = iter((11, 7.0))
        stub.grade_of = lambda text, picture: next(grades) if (text, picture) == ("a comet", b"\x89PNG pixels") else 0
        backend = OpenAICompatible(settings(base_url=stub.url), limits=QUICK)
        assert backend.judge("a comet", b"\x89PNG pixels") == 7
    first, second = stub.requests
    assert (second["seed"], second["temperature"]) == (first["seed"] + 1, RETRY_TEMPERATURE)
    assert first["messages"][0] == {"role": "system", "content": JUDGEMENT}
    assert first["messages"][1]["content"][1]["image_url"]["url"].startswith("data:image/png;base64,")
    assert first["response_format"]["json_schema"]["schema"]["required"] == ["grade"]


def test_pictures_without_a_grade_get_the_middle_one_if_any_has_a_grade(caplog: pytest.LogCaptureFixture) -> None:
    grades = {b"1": 0, b"2": 77, b"3": 9, b"4": 5}
    with StubServer() as stub:
        stub.grade_of = lambda text, picture: grades[picture]
        backend = OpenAICompatible(settings(base_url=stub.url), limits=replace(LIMITS, attempts=1))
        assert (backend.rank("a comet", list(grades)), "1 of 4 pictures" in caplog.text) == ([2, 1, 3, 0], True)
        assert "data:image/jpeg;base64," in stub.seen[0]["body"]
        with pytest.raises(AnswerError, match="no chat completion"):
            backend.rank("a comet", [b"2"])
