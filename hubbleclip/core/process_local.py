"""Objects with locks and connections, which cannot cross to another process: there one like it is made."""

from __future__ import annotations

import threading
from functools import lru_cache
from typing import Any, Self
from uuid import uuid4

MANY = 8
_ONE_AT_A_TIME = threading.Lock()


class MadeApart:
    """What threads share, while every other process that it is sent to makes one of its own from the same arguments:
    one, however often it is sent, until newer ones take its place.
    """

    _made_from: tuple[str, type, tuple[Any, ...]]
    is_apart = False
    """Whether this is such a one, whose state the sender cannot see."""

    def __new__(cls, *args: Any) -> Self:
        """Note what it is made from, and a name for it."""
        made = super().__new__(cls)
        made._made_from = uuid4().hex, cls, args
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        """See the class."""
        return _made, self._made_from


def _made(name: str, cls: type, args: tuple[Any, ...]) -> Any:
    with _ONE_AT_A_TIME:
        return _made_once(name, cls, args)


@lru_cache(MANY)
def _made_once(name: str, cls: type, args: tuple[Any, ...]) -> Any:
    """`name` tells those with equal arguments from one another."""
    made = cls(*args)
    made.is_apart = True
    return made
