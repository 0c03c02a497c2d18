"""Find the id that a person means by its first characters."""

from __future__ import annotations

from collections.abc import Collection

from hubbleclip.core.errors import HubbleclipError

MAX_SHOWN = 4
"""Maximum number of ids in a message."""


def find_id(start: str, known: Collection[str], *, kind: str, listed_by: str) -> str:
    """Find the id that is equal to `start`, or else the only one that begins with it; HubbleclipError otherwise."""
    found = [start] if start in known else sorted(one for one in known if start and one.startswith(start))
    if len(found) == 1:
        return found[0]
    if not found:
        raise HubbleclipError(f"no {kind} begins with {start!r}: `{listed_by}` lists them")
    shown = ", ".join(found[:MAX_SHOWN]) + (", ..." if len(found) > MAX_SHOWN else "")
    raise HubbleclipError(f"more than one {kind} begins with {start!r}: give more of its characters ({shown})")
