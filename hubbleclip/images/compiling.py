"""How the loops over pixels are compiled: by numba. What it made is kept beside the code, or under `NUMBA_CACHE_DIR`;
the first run on a machine makes it and takes some seconds longer.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

NOT_NEEDED = ("scipy.linalg", "cffi")
"""What numba loads as it starts, to multiply matrices and to call C: no loop here does, and it takes a third of the
start. In a process that has loaded them before, it finds them.
"""
WHO_ASKS = ("numba.np.arraymath", "numba.core.typing.cffi_utils")


@contextmanager
def _hidden(names: tuple[str, ...]) -> Iterator[None]:
    """Modules that are not loaded yet seem absent for a while."""
    absent = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(absent))  # type: ignore[arg-type]  # None there means so
    try:
        yield
    finally:
        for name in absent:
            del sys.modules[name]


@contextmanager
def _garbage_left() -> Iterator[None]:
    """No garbage is looked for, now or later, in what is loaded: it stays, and to look took an eighth of the start."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()


with _hidden(NOT_NEEDED), _garbage_left():
    from numba import njit

    for asking in WHO_ASKS:
        import_module(asking)

compiled = njit(nogil=True, cache=True, error_model="numpy")
