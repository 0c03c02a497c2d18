"""Backends, which read the abstract of a proposal and write an answer; `captions/schema.py` defines the answer.

To add a backend, add a module to this folder and an entry to `BACKENDS`.
"""

from __future__ import annotations

from importlib import import_module

from hubbleclip.captions.backends.base import Backend
from hubbleclip.captions.schema import SCHEMA_VERSION
from hubbleclip.config.settings import CaptionSettings
from hubbleclip.core.id_prefixes import find_registered

BACKENDS = {"embedded": "embedded:Embedded", "openai": "openai_compatible:OpenAICompatible", "rules": "rules:Rules"}
"""Module and class of each backend, by its name in `captions.backend`. The module is imported when the backend is
opened, so that `hubbleclip status` need not import the HTTP client. Opening sends no request and loads no model.
"""


def open_backend(settings: CaptionSettings) -> Backend:
    """Open the backend whose name is given by `captions.backend`."""
    module, _, name = find_registered(BACKENDS, settings.backend, "captions.backend").partition(":")
    backend: Backend = getattr(import_module(f"hubbleclip.captions.backends.{module}"), name)(settings)
    return backend


def writer_name(backend: Backend, seed: int) -> str:
    """Compose the `writer` stored with an answer: `MODEL-VERSION.SCHEMA_VERSION`, then `.SEED` for a language model."""
    name = f"{backend.model}-{backend.version}.{SCHEMA_VERSION}"
    return f"{name}.{seed}" if backend.is_model else name


def writer_of(settings: CaptionSettings) -> str:
    """Compose the `writer` for the backend that the settings select; "" if `captions.backend` is empty."""
    return writer_name(open_backend(settings), settings.seed) if settings.backend else ""
