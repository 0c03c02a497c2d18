"""Base class of the sections of settings, and one-line messages that tell the user how to correct a setting."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

UNKNOWN = "extra_forbidden"
LIST_ERRORS = ("tuple_type", "list_type")
TABLE_ERRORS = ("model_type", "model_attributes_type")


class Section(BaseModel):
    """A group of settings with its own digest. A stage compares digests to find the rows that need new processing."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
    not_in_digest: ClassVar[frozenset[str]] = frozenset()
    """Names of settings that do not influence the result of a stage. Changing them leaves stored rows valid."""
    fixed: ClassVar[Mapping[str, Any]] = {}
    """Names and values of code constants that influence results. A change of a constant changes the digest."""
    added_later: ClassVar[frozenset[str]] = frozenset()
    """Names of settings that a later release added. They are part of the digest only if they differ from their default,
    so that digests of earlier releases stay valid.
    """

    def recorded(self) -> dict[str, Any]:
        """Return the values of the settings and of the constants, as datasets record them."""
        return {**self.model_dump(mode="json"), **self.fixed}

    def digest(self) -> str:
        """Hash the values that matter for results: 16 hex digits, equal on every machine."""
        fields = type(self).model_fields
        unchanged = {name for name in self.added_later if getattr(self, name) == fields[name].default}
        values = {name: value for name, value in self.recorded().items() if name not in self.not_in_digest | unchanged}
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def setting_names(settings: type[BaseModel]) -> list[str]:
    """List the names of all settings."""
    names = []
    for name, field in settings.model_fields.items():
        inner = getattr(type(field.default), "model_fields", None)
        names += [f"{name}.{one}" for one in inner] if inner else [name]
    return names


def closest(name: str, known: list[str]) -> list[str]:
    """Find the known name most similar to `name`, or else up to three names with a similar part after the last dot."""
    if found := get_close_matches(name, known, n=1, cutoff=0.8):
        return found
    last = name.rpartition(".")[2]
    parts = [one.rpartition(".")[2] for one in known]
    similar = get_close_matches(last, sorted(set(parts)), n=1, cutoff=0.75)
    return [one for one, part in zip(known, parts, strict=True) if part in similar][:3]


def explain_error(error: Mapping[str, Any], settings: type[BaseModel]) -> str:
    """Return a one-line message about an invalid setting."""
    name, value = ".".join(str(part) for part in error["loc"]), error.get("input")
    if error["type"] == UNKNOWN:
        if name in setting_names(settings):  # TOML reads a quoted name as one key that contains a dot
            return f'the name "{name}" is quoted: write it without quotes, or below its section'
        if isinstance(value, dict) and value:  # a whole section is unknown
            name = f"{name}.{next(iter(value))}"
        meant = " or ".join(closest(name, setting_names(settings)))
        hint = f": did you mean {meant}?" if meant else ""
        return f"there is no setting {name}{hint} (`hubbleclip settings` lists all)"
    if error["type"] in LIST_ERRORS:
        parts = [part.strip() for part in value.strip("[]").split(",")] if isinstance(value, str) else [value]
        example = json.dumps(parts, default=str)
        return f"setting {name} takes a list: write --set '{name}={example}' (got {value!r})"
    if error["type"] in TABLE_ERRORS:
        return f"{name} is a section of settings: write --set {name}.NAME=VALUE (`hubbleclip settings` lists all)"
    if isinstance(value, Mapping | BaseModel):  # the error concerns several settings, and its message names them
        return str(error["msg"]).removeprefix("Value error, ")
    return f"setting {name}: {error['msg']} (got {value!r})"
