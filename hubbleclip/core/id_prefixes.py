"""Find an id by its first characters, and an object of a registry by its name."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TypeVar

from hubbleclip.core.errors import HubbleclipError, SettingsError

Registered = TypeVar("Registered")
MAX_SHOWN = 4
"""Maximum number of ids that an error message lists."""


def find_id(start: str, known: Collection[str], *, kind: str, listed_by: str) -> str:
    """Find the id that equals `start`, or else the only id that begins with it; HubbleclipError otherwise.

    The message names `listed_by`, the command that lists the ids.
    """
    found = [start] if start in known else sorted(one for one in known if start and one.startswith(start))
    if len(found) == 1:
        return found[0]
    if not found:
        raise HubbleclipError(f"no {kind} begins with {start!r}: `{listed_by}` lists them")
    shown = ", ".join(found[:MAX_SHOWN]) + (", ..." if len(found) > MAX_SHOWN else "")
    raise HubbleclipError(f"more than one {kind} begins with {start!r}: give more of its characters ({shown})")


def find_registered(registry: Mapping[str, Registered], name: str, setting: str) -> Registered:
    """Find a registered object by its name; for an unknown name, SettingsError lists the registered names."""
    if name not in registry:
        raise SettingsError(f"unknown {setting} {name!r}: give one of {', '.join(sorted(registry)) or 'none'}")
    return registry[name]
