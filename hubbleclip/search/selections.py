"""Named selections of tiles, each with a note. Each profile stores its selections in one JSON file."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from hubbleclip.core.errors import SearchError
from hubbleclip.core.io import locked, write_bytes

NAME = re.compile(r"[\w+.-][\w +.-]{0,63}")
MAX_SELECTIONS, MAX_TILES, MAX_NOTE = 200, 10_000, 4_000
"""Maximum numbers of selections, of tiles per selection, and of characters of a note."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Ids of the selected tiles, in the order in which they were added, and a note."""

    tile_ids: tuple[str, ...] = ()
    note: str = ""


def read_selections(path: Path) -> dict[str, Selection]:
    """Read all selections, by name."""
    try:
        found = json.loads(path.read_bytes())
        return {name: Selection(tile_ids=tuple(one["tile_ids"]), note=one["note"]) for name, one in found.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise SearchError(f"{path} is damaged: repair or delete it") from error


def read_selection(path: Path, name: str) -> Selection:
    """Read one selection."""
    found = read_selections(path)
    if name not in found:
        raise SearchError(f"there is no selection {name!r}; existing selections: {', '.join(sorted(found)) or 'none'}")
    return found[name]


def change_selection(
    path: Path, name: str, *, add: Iterable[str] = (), remove: Iterable[str] = (), note: str | None = None
) -> None:
    """Add tiles to a selection, which is created if it does not exist, remove tiles from it, and change its note."""
    if not NAME.fullmatch(name):
        raise SearchError("the name of a selection has at most 64 letters, digits, spaces, and - + . _")
    with locked(path.with_suffix("")):
        found, add, removed = read_selections(path), list(add), set(remove)
        if not add and name not in found:
            raise SearchError(f"there is no selection {name!r}: choose tiles to make it")
        before = found.get(name, Selection())
        tile_ids = [one for one in dict.fromkeys([*before.tile_ids, *add]) if one not in removed]
        found[name] = replace(before, tile_ids=tuple(tile_ids), note=before.note if note is None else note.strip())
        if len(tile_ids) > MAX_TILES or len(found) > MAX_SELECTIONS or len(found[name].note) > MAX_NOTE:
            raise SearchError(
                f"at most {MAX_SELECTIONS} selections of {MAX_TILES:,} tiles, with notes of {MAX_NOTE:,} characters"
            )
        _write(path, found)


def delete_selection(path: Path, name: str) -> None:
    """Delete a selection."""
    with locked(path.with_suffix("")):
        _write(path, {one: value for one, value in read_selections(path).items() if one != name})


def _write(path: Path, found: dict[str, Selection]) -> None:
    content = {name: asdict(found[name]) for name in sorted(found)}
    write_bytes(path, json.dumps(content, indent=1, ensure_ascii=False).encode())
