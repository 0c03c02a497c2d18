"""The embedded model answers through llama.cpp's own OpenAI-compatible server, constrained by the schema."""

from hashlib import sha256
from importlib.util import find_spec
from itertools import count
from pathlib import Path

import pytest

from hubbleclip.captions.backends.base import SourceText
from hubbleclip.captions.backends.embedded import Embedded, find_model
from hubbleclip.captions.backends.openai_compatible import OpenAICompatible
from hubbleclip.captions.registry import writer_of
from hubbleclip.config.settings import CaptionSettings
from hubbleclip.core.errors import SettingsError

TEXT = "We will image the spiral galaxy NGC 1300 with WFC3 and map the dust lanes along its bar."
SOURCE = SourceText(abstract_sha256=sha256(TEXT.encode()).hexdigest(), title="The bar of NGC 1300", abstract=TEXT)


def settings(**changes: object) -> CaptionSettings:
    return CaptionSettings(**({"backend": "embedded", "timeout_s": 200} | changes))


@pytest.mark.skipif(find_spec("xllamacpp") is None, reason="needs the extra captions")
def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="nothing.gguf is not a file: set it to a GGUF file"):
        find_model(str(tmp_path / "nothing.gguf"))


@pytest.fixture
def embedded() -> Embedded:
    try:
        return Embedded(settings())
    except SettingsError as error:
        pytest.skip(str(error))


def test_the_writer_names_the_model_without_loading_it(embedded: Embedded) -> None:
    assert writer_of(settings()) == f"{embedded.model}-3.1.1"
    assert embedded.is_model


@pytest.mark.nightly
def test_a_real_server_answers_under_the_schema(embedded: Embedded) -> None:
    """The server of llama.cpp; its grammar permits no other JSON, so that attempts fail by the number of characters only."""
    calls = count()
    reply = embedded.ask(SOURCE, lambda: next(calls))
    assert 1 <= next(calls) <= 5
    assert 1 <= len(reply.answer.objects) <= 6
    assert reply.prompt_tokens > 200
    assert reply.answer_tokens > 30
    client = OpenAICompatible(settings(backend="openai", model="any", base_url=f"{embedded.address}/v1"))
    assert client.ask(SOURCE, lambda: next(calls)).answer.category
