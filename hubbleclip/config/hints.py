"""Say what to change when a setting is unknown or its value is invalid."""

from __future__ import annotations

import json
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel

UNKNOWN = "extra_forbidden"
LIST_ERRORS = ("tuple_type", "list_type")
TABLE_ERRORS = ("model_type", "model_attributes_type")


def setting_names(settings: type[BaseModel]) -> list[str]:
    """List the names of all settings."""
    names = []
    for name, field in settings.model_fields.items():
        inner = getattr(type(field.default), "model_fields", None)
        names += [f"{name}.{one}" for one in inner] if inner else [name]
    return names


def closest(name: str, known: list[str]) -> list[str]:
    """Find the settings that a name may mean."""
    if found := get_close_matches(name, known, n=1, cutoff=0.8):
        return found
    last = name.rpartition(".")[2]
    parts = [one.rpartition(".")[2] for one in known]
    similar = get_close_matches(last, sorted(set(parts)), n=1, cutoff=0.75)
    return [one for one, part in zip(known, parts, strict=True) if part in similar][:3]


def explain_error(error: Mapping[str, Any], settings: type[BaseModel]) -> str:
    """Write one line about an invalid setting."""
    name, value = ".".join(str(part) for part in error["loc"]), error.get("input")
    if error["type"] == UNKNOWN:
        if isinstance(value, dict) and value:  # a whole section is unknown
            name = f"{name}.{next(iter(value))}"
        meant = " or ".join(closest(name, setting_names(settings)))
        return (
            f"there is no setting {name}{f': did you mean {meant}?' if meant else ''} (`hubbleclip settings` lists all)"
        )
    if error["type"] in LIST_ERRORS:
        parts = [part.strip() for part in value.strip("[]").split(",")] if isinstance(value, str) else [value]
        example = json.dumps(parts, default=str)
        return f"setting {name} takes a list: write --set '{name}={example}' (got {value!r})"
    if error["type"] in TABLE_ERRORS:
        return f"{name} is a section of settings: write --set {name}.NAME=VALUE (`hubbleclip settings` lists all)"
    return f"setting {name}: {error['msg']} (got {value!r})"
