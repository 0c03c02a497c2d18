"""Write settings as commented TOML, parse settings that the command line sets, and read grids of settings from TOML."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hubbleclip.config.settings import Section, Settings, read_toml
from hubbleclip.core.errors import SettingsError

HEADER = """\
# All settings with their defaults. Change one here for every profile; a profile's own TOML, the environment
# (HUBBLECLIP_TRAIN__STEPS=100) and the command line (--set train.steps=100) override this file.
"""

Grid = Mapping[str, list[Any]]
"""Lists of values to try, by `section.name`: `{"train.seed": [1, 2]}`."""


def settings_toml(settings: Settings) -> str:
    """Format settings as a commented TOML file."""
    blocks = [HEADER]
    for name, field in type(settings).model_fields.items():
        section = getattr(settings, name)
        if isinstance(section, Section):
            lines = [_entry(n, f.description, getattr(section, n)) for n, f in type(section).model_fields.items()]
            blocks.append(f"[{name}]\n" + "\n".join(lines))
        elif name != "profile":  # not written, because the file's name is the profile's name
            blocks.append(_entry(name, field.description, section))
    return "\n".join(blocks)


def _entry(name: str, description: str | None, value: Any) -> str:
    """Format one setting with its description. A setting of None is commented out, because TOML has no null."""
    is_unset = value is None
    # JSON strings, numbers, booleans and arrays are also valid TOML. An object is valid TOML if `=` replaces `:`.
    text = '""' if is_unset else json.dumps(value, default=str, ensure_ascii=False, separators=(", ", " = "))
    return f"# {' '.join((description or '').split())}\n{'# ' if is_unset else ''}{name} = {text}\n"


def parse_assignment(text: str) -> tuple[str, Any]:
    """Parse `section.name=value`; a value that is not TOML is a string, so that strings need no quotes."""
    path, equals, raw = text.partition("=")
    if not equals:
        raise SettingsError(f"--set {text!r} has no equals sign: write section.name=value")
    try:
        return path.strip(), tomllib.loads(f"value = {raw}")["value"]
    except tomllib.TOMLDecodeError:
        return path.strip(), raw.strip()


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Convert a dict with keys `section.name` to nested dicts."""
    found: dict[str, Any] = {}
    for path, value in values.items():
        *sections, name = path.split(".")
        place = found
        for section in sections:
            place = place.setdefault(section, {})
            if not isinstance(place, dict):
                raise SettingsError(f"{section} has a value itself, so {path} cannot be set: give only one of them")
        place[name] = value
    return found


def read_grid(path: Path) -> Grid:
    """Read a grid from a TOML file of settings whose values are lists."""
    names = {
        f"{section}.{name}".removesuffix("."): values
        for section, table in read_toml(path).items()
        for name, values in (table if isinstance(table, dict) else {"": table}).items()
    }
    wrong = [name for name, values in names.items() if not (isinstance(values, list) and values)]
    if wrong or not names:
        raise SettingsError(f"the grid {path} has no list of values for {', '.join(wrong) or 'any setting'}")
    return names
