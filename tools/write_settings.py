"""`make settings`: write `hubbleclip.toml` and the table of `docs/settings.md` from the settings' declarations."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from inspect import getdoc
from pathlib import Path

from hubbleclip.config.settings import Section, Settings
from hubbleclip.config.toml import settings_toml

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/settings.md"
TABLE = re.compile(r"(?<=<!-- table by make settings -->\n).*?(?=<!-- end of table -->)", re.DOTALL)


def table_rows() -> Iterator[str]:
    """Yield one row per section, and one for the settings outside of sections."""
    fields = Settings.model_fields
    sections = {name: type(field.default) for name, field in fields.items() if isinstance(field.default, Section)}
    yield "| section | content | settings |\n|---|---|---|\n"
    yield f"| | everything that is written | {_names(name for name in fields if name not in sections)} |\n"
    for name, section in sections.items():
        summary = (getdoc(section) or "").partition(".\n")[0].rstrip(".")
        yield f"| `{name}` | {summary} | {_names(section.model_fields)} |\n"


def _names(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def written() -> dict[Path, str]:
    """Return the content of each file by its path."""
    page = TABLE.sub("".join(table_rows()).replace("\\", r"\\"), PAGE.read_text(encoding="utf-8"))
    return {ROOT / "hubbleclip.toml": settings_toml(Settings()), PAGE: page}


if __name__ == "__main__":
    for path, text in written().items():
        path.write_text(text, encoding="utf-8")
