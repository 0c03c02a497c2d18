"""`make commands`: write the tables of `docs/commands.md` from the declarations of the commands."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from cyclopts import Argument

from hubbleclip.cli.app import app

PAGE = Path(__file__).parents[1] / "docs/commands.md"
TABLES = re.compile(r"(?<=<!-- tables by make commands -->\n).*?(?=<!-- end of tables -->)", re.DOTALL)
COMMANDS = [name for name in app if not name.startswith("-")]


def arguments(command: str) -> list[Argument]:
    """List the arguments of a command that a person may give."""
    return [one for one in app[command].assemble_argument_collection(parse_docstring=True) if one.parse and one.show]


def spelling(argument: Argument) -> str:
    """Write an argument as a person types it."""
    if argument.index is not None and argument.field_info.kind is not argument.field_info.KEYWORD_ONLY:
        name = argument.name.removeprefix("--").upper().replace("-", "_")
        return name if argument.required else f"[{name}]"
    if argument.hint is bool and argument.field_info.default:
        return argument.names[-1]  # `--no-...`
    return " ".join([argument.name, "|".join(argument.get_choices() or ())]).strip()


def tables() -> Iterator[str]:
    """Yield the rows of the table of commands and of the table of options, which says what every option means."""
    meanings: dict[tuple[str, str], list[str]] = {}
    yield "| command | meaning |\n|---|---|\n"
    for name in COMMANDS:
        words = [name]
        for one in arguments(name):
            text = spelling(one)
            if not text.startswith("-") or one.required:
                words.append(text if not text.startswith("-") else f"{text} {text.lstrip('-').upper()}")
            meanings.setdefault((text, " ".join((one.parameter.help or "").split())), []).append(name)
        meaning = app[name].help.partition("Parameters\n")[0]
        yield f"| `{' '.join(words)}` | {_cell(' '.join(meaning.split()))} |\n"
    yield "\n| option | of | meaning |\n|---|---|---|\n"
    for (text, meaning), names in meanings.items():
        of = "most" if len(names) > len(COMMANDS) // 2 else ", ".join(f"`{name}`" for name in names)
        yield f"| `{_cell(text)}` | {of} | {_cell(meaning)} |\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def written() -> str:
    """Return the page with its tables."""
    return TABLES.sub(lambda _: "".join(tables()), PAGE.read_text(encoding="utf-8"))


if __name__ == "__main__":
    PAGE.write_text(written(), encoding="utf-8")
