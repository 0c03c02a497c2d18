"""Registry of backends by name. To add a backend, add a module to `backends/` and an entry to `BACKENDS`."""

from __future__ import annotations

from importlib import import_module

from hubbleclip.captions.backends.base import Backend
from hubbleclip.captions.schema import SCHEMA_VERSION
from hubbleclip.config.settings import CaptionSettings
from hubbleclip.core.errors import SettingsError

BACKENDS = {"embedded": "embedded:Embedded", "openai": "openai_compatible:OpenAICompatible", "rules": "rules:Rules"}
"""Module and class of each backend, by `captions.backend`. The module is imported when the backend is opened, so that
`status` does not wait for the HTTP client. Opening a backend sends no request and loads no model.
"""


def open_backend(settings: CaptionSettings) -> Backend:
    """Open the backend whose name is given by `captions.backend`.

    Parameters
    ----------
    settings
        `captions` section of the settings.

    Returns
    -------
    Backend
        The backend.

    Raises
    ------
    SettingsError
        If the name is unknown, or a setting that the backend needs is missing.

    """
    if settings.backend not in BACKENDS:
        known = ", ".join(sorted(BACKENDS))
        raise SettingsError(f"no caption backend {settings.backend!r}: set captions.backend to one of {known}")
    module, _, name = BACKENDS[settings.backend].partition(":")
    backend: Backend = getattr(import_module(f"hubbleclip.captions.backends.{module}"), name)(settings)
    return backend


def writer_name(backend: Backend, seed: int) -> str:
    """Name the writer of a backend's texts: model, version of prompt or rules, version of the schema, and seed.

    Parameters
    ----------
    backend
        The backend.
    seed
        Seed of the model's sampling; without a model it is not part of the name.

    Returns
    -------
    str
        For example `rules-1.1`, or `Qwen3-8B-3.1.7` for the seed 7.

    """
    name = f"{backend.model}-{backend.version}.{SCHEMA_VERSION}"
    return f"{name}.{seed}" if backend.is_model else name


def writer_of(settings: CaptionSettings) -> str:
    """Name the writer that the settings select.

    Parameters
    ----------
    settings
        `captions` section of the settings.

    Returns
    -------
    str
        Name of the writer; empty if `captions.backend` is empty.

    """
    return writer_name(open_backend(settings), settings.seed) if settings.backend else ""
