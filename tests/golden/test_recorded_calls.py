"""Calls of single functions at their limits: `module: expression` and what it gives, a file per part of the package.

An expression is evaluated in the namespace of its module, or of several (`module, module: expression`).
`catch(lambda: ...)` gives the error of a call, `seen` also what it prints and logs, `make(Record, ...)` a valid record, and
`path` is an empty folder; `enter` opens a context, such as `patch(...)` or `clock(...)`, until the end of the entry.
Names that one part alone needs are in `PART.py` beside its table; `sky` is the search of a made sky. A new one is written
with the value null, and `make golden UPDATE=1` records what it gives.
"""

import io
import json
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import asdict, is_dataclass
from importlib import import_module
from operator import attrgetter, itemgetter
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from pydantic import BaseModel
from valid_catalog import make

CALLS = Path(__file__).parent / "calls"


def catch(call: Callable[[], Any]) -> str:
    try:
        return f"no error: {call()!r}"
    except (Exception, SystemExit) as err:
        return f"{type(err).__name__}: {err}"


def fail(error: BaseException) -> None:
    raise error


def seen(call: Callable[[], Any]) -> list[Any]:
    """The result or error of a call, the lines that it prints, and those that it logs."""
    printed, logged, logger, handler = io.StringIO(), list[str](), logging.getLogger("hubbleclip"), logging.Handler()
    handler.emit = lambda record: logged.append(record.getMessage())  # type: ignore[method-assign]
    level = logger.level
    with (
        patch.multiple(logger, handlers=[handler], propagate=False),
        redirect_stdout(printed),
        redirect_stderr(printed),
    ):
        logger.setLevel(logging.INFO)
        result = catch(call).removeprefix("no error: ")
        logger.setLevel(level)
    return [result, printed.getvalue().splitlines(), logged]


@contextmanager
def clock(module: str, *times_s: float) -> Iterator[list[float]]:
    """A module whose clock shows these times; the waits of the module, which take no time."""
    waits, left = list[float](), iter(times_s)
    with patch(f"{module}.time", SimpleNamespace(sleep=waits.append, monotonic=lambda: next(left))):
        yield waits


HELPERS = {"np": np, "catch": catch, "make": make, "fail": fail, "seen": seen, "patch": patch}
HELPERS |= {"attrgetter": attrgetter, "clock": clock, "itemgetter": itemgetter}


def plain(value: Any) -> Any:
    """A result as JSON: numbers and texts as they are, arrays and iterators as lists, other objects as texts."""
    if isinstance(value, BaseModel):
        return plain(value.model_dump())
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, set | frozenset):
        return sorted(map(str, value))
    if isinstance(value, list | tuple | Iterator):
        return [plain(one) for one in value]
    if isinstance(value, float):
        return float(f"{value:.12g}") if value == value else "nan"
    return value if isinstance(value, str | int | None) else str(value)


def recorded(part: str) -> list[str]:
    return list(json.loads((CALLS / f"{part}.json").read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    ("part", "module"),
    dict.fromkeys(
        (path.stem, re.split("[:,] ", name)[0]) for path in sorted(CALLS.glob("*.json")) for name in recorded(path.stem)
    ),
)
def test_calls_give_what_is_recorded(
    part: str, module: str, tmp_path: Path, compare_recorded: Callable[..., None], request: pytest.FixtureRequest
) -> None:
    found, is_helped, start = {}, (CALLS / f"{part}.py").is_file(), (f"{module}: ", f"{module}, ")
    more = vars(import_module(f"tests.golden.calls.{part}")) if is_helped else {}
    more = more | {"sky": request.getfixturevalue("search")} if part == "search" else more
    for number, name in enumerate(name for name in recorded(part) if name.startswith(start)):
        modules, _, expression = name.partition(": ")
        (path := tmp_path / str(number)).mkdir()
        names: dict[str, Any] = dict(HELPERS)
        for one in modules.split(", "):
            names |= vars(import_module(one if one.startswith("flows.") else f"hubbleclip.{one}"))
        with ExitStack() as stack:
            given = plain(eval(expression, names | {"path": path, "enter": stack.enter_context} | more))
        found[name] = json.loads(json.dumps(given).replace(str(path), "PATH"))
    compare_recorded(f"calls/{part}.json", found, start=start)
