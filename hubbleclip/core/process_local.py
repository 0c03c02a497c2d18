"""Objects with locks and connections, which cannot be pickled: each process builds its own from the same arguments."""

from __future__ import annotations

import threading
from functools import lru_cache
from typing import Any, Self
from uuid import uuid4

CACHE_SIZE = 8
"""Objects kept per process; the least recently used one is dropped."""
_BUILD_LOCK = threading.Lock()


class ProcessLocal:
    """Base of objects that threads share and that other processes rebuild when they unpickle them.

    Only the constructor's arguments are pickled. A process that receives the same object repeatedly builds it once and
    reuses it, until `CACHE_SIZE` newer ones displace it.
    """

    _recipe: tuple[str, type, tuple[Any, ...]]
    is_worker_copy = False
    """Whether this object was rebuilt in another process, whose state the sender cannot see."""

    def __new__(cls, *args: Any) -> Self:
        """Record how to rebuild the object: a unique name, its class and the arguments."""
        instance = super().__new__(cls)
        instance._recipe = uuid4().hex, cls, args
        return instance

    def __reduce__(self) -> tuple[Any, ...]:
        """See the class."""
        return _build, self._recipe


def _build(name: str, cls: type, args: tuple[Any, ...]) -> Any:
    """Rebuild an object, or return the one built before; `lru_cache` alone may build twice in two threads."""
    with _BUILD_LOCK:
        return _build_once(name, cls, args)


@lru_cache(CACHE_SIZE)
def _build_once(name: str, cls: type, args: tuple[Any, ...]) -> Any:
    """Build an object; `name` is part of the cache key, so that objects with equal arguments stay distinct."""
    instance = cls(*args)
    instance.is_worker_copy = True
    return instance
