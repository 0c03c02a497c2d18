"""Base class for objects that hold locks or connections and therefore cannot be pickled.

Each process builds its own copy of such an object from the same constructor arguments.
"""

from __future__ import annotations

import threading
from functools import lru_cache
from typing import Any, Self
from uuid import uuid4

CACHE_SIZE = 8
"""Largest number of rebuilt objects that a process caches; the least recently used object is dropped first."""
_BUILD_LOCK = threading.Lock()


class ProcessLocal:
    """Base class of objects that threads share and that other processes rebuild.

    Only the constructor's arguments are pickled, and the receiving process builds a new object from them. A process
    that receives the same object repeatedly builds it once and caches it; the cache holds `CACHE_SIZE` objects.
    """

    _recipe: tuple[str, type, tuple[Any, ...]]
    is_worker_copy = False
    """True for a copy that a worker process has built; changes to the copy do not affect the original object."""

    def __new__(cls, *args: Any) -> Self:
        """Create the object and record what is needed to rebuild it: a unique name, the class and the arguments."""
        instance = super().__new__(cls)
        instance._recipe = uuid4().hex, cls, args
        return instance

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the recorded class and arguments instead of the object's state."""
        return _build, self._recipe


def _build(name: str, cls: type, args: tuple[Any, ...]) -> Any:
    """Rebuild an object, or return the cached one.

    The lock is needed because `lru_cache` alone could build the object twice if two threads call it at once.
    """
    with _BUILD_LOCK:
        return _build_once(name, cls, args)


@lru_cache(CACHE_SIZE)
def _build_once(name: str, cls: type, args: tuple[Any, ...]) -> Any:
    """Build an object; `name` is part of the cache key, so that objects with equal arguments stay distinct."""
    instance = cls(*args)
    instance.is_worker_copy = True
    return instance
