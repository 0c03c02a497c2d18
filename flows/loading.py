"""How a command loads what it needs: to look for garbage in what libraries make as they load took a fifth of a start,
and to look once more at the end a tenth of a second.
"""

from __future__ import annotations

import gc
import importlib
from types import ModuleType


def load(name: str) -> ModuleType:
    """Import a module of the flows. What it brings in stays to the end: only for a process of our own."""
    gc.disable()
    try:
        return importlib.import_module(f"flows.{name}")
    finally:
        keep()
        gc.enable()


def keep() -> None:
    """Look for no garbage in what is loaded by now."""
    gc.freeze()
