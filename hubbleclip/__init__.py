"""hubbleclip: from the Hubble archive to image-text models."""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hubbleclip.search.engine import Search

__all__ = ["Search", "__version__"]

__version__ = "0.1.0"

# OpenMP reads this variable when torch is first imported; the value limits how long threads spin while they wait for
# each other. With the default, one other busy program on the same cores makes a training step 5 to 20 times slower.
# Without another program the value makes no difference.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")


def __getattr__(name: str) -> Any:
    """Import `Search` when it is first used: its imports take a second, which other commands need not wait for."""
    if name == "Search":
        return import_module("hubbleclip.search.engine").Search
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
