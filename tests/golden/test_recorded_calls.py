"""Calls of single functions at their limits: `module: expression` and what it gives, a file per part of the package.

An expression is evaluated in the namespace of its module, or of several (`module, module: expression`).
`catch(lambda: ...)` gives the error of a call, `make(Record, ...)` a valid record, and `path` is an empty folder;
names that one part alone needs are in `PART.py` beside its table. A new one is written with the value null, and
`make golden UPDATE=1` records what it gives.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, is_dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import BaseModel
from valid_catalog import make

CALLS = Path(__file__).parent / "calls"


def catch(call: Callable[[], Any]) -> str:
    try:
        return f"no error: {call()!r}"
    except Exception as err:
        return f"{type(err).__name__}: {err}"


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


@pytest.mark.parametrize("part", sorted(path.stem for path in CALLS.glob("*.json")))
def test_calls_give_what_is_recorded(part: str, tmp_path: Path, compare_recorded: Callable[..., None]) -> None:
    found, is_helped = {}, (CALLS / f"{part}.py").is_file()
    more = vars(import_module(f"tests.golden.calls.{part}")) if is_helped else {}
    for number, name in enumerate(json.loads((CALLS / f"{part}.json").read_text(encoding="utf-8"))):
        modules, _, expression = name.partition(": ")
        (path := tmp_path / str(number)).mkdir()
        names: dict[str, Any] = {}
        for module in modules.split(", "):
            names |= vars(import_module(f"hubbleclip.{module}"))
        given = plain(eval(expression, names | {"np": np, "path": path, "catch": catch, "make": make} | more))
        found[name] = json.loads(json.dumps(given).replace(str(path), "PATH"))
    compare_recorded(f"calls/{part}.json", found)
