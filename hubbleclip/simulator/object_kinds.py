"""Kinds of object that a simulated proposal may observe. The package `objects` draws each kind."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectKind:
    """Kind of object, e.g. `spiral galaxy`.

    `categories` are the scientific categories that a proposal about such an object may have. `variants` are subtypes
    that look different. `filters` is a key of `FILTER_PLANS`. `names` are templates of catalogue names, such as
    `NGC {n4}`. `exposure_s` is the range of exposure times of an observation, in seconds. `may_be_off_centre` says
    whether an observation may be offset from the centre of the object.
    """

    name: str
    categories: tuple[str, ...]
    variants: tuple[str, ...]
    filters: str = "broad"
    names: tuple[str, ...] = ("NGC {n4}",)
    exposure_s: tuple[int, int] = (400, 2400)
    is_moving: bool = False
    may_be_off_centre: bool = True


def _tuples(values: dict[str, Any]) -> dict[str, Any]:
    """Convert the lists in a TOML table to tuples."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}


_TABLES = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
OBJECT_KINDS = {name: ObjectKind(name=name, **_tuples(values)) for name, values in _TABLES["kinds"].items()}
CALIBRATION = OBJECT_KINDS.pop("calibration")  # a calibration exposure has no scene and no renderer
FILTER_PLANS: dict[str, dict[str, tuple[str, ...]]] = {
    purpose: _tuples(cameras) for purpose, cameras in _TABLES["filters"].items()
}
"""Filters by purpose (`ObjectKind.filters`) and then by camera, in descending order of preference."""
