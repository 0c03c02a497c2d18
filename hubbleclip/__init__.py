"""hubbleclip: from the Hubble archive to image-text models."""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hubbleclip.catalog.catalog import open_catalog
    from hubbleclip.dataset.manifest import read_dataset
    from hubbleclip.images.tiling import tile_file
    from hubbleclip.search.engine import Search
    from hubbleclip.simulator.observations import example_file
    from hubbleclip.training.models.trained_model import load_model

__all__ = ["Search", "__version__", "example_file", "load_model", "open_catalog", "read_dataset", "tile_file"]

__version__ = "0.2.0"

MODULES = {
    "Search": "hubbleclip.search.engine",
    "example_file": "hubbleclip.simulator.observations",
    "load_model": "hubbleclip.training.models.trained_model",
    "open_catalog": "hubbleclip.catalog.catalog",
    "read_dataset": "hubbleclip.dataset.manifest",
    "tile_file": "hubbleclip.images.tiling",
}
"""Module of each public name. The names are described in docs/python.md."""

# OpenMP reads this variable when torch is first imported; the value limits how long threads spin while they wait for
# each other. With the default, one other busy program on the same cores makes a training step 5 to 20 times slower.
# Without another program the value makes no difference.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")


def __getattr__(name: str) -> Any:
    """Import a name when it is first used: imports take seconds, and some commands do not need them."""
    if name in MODULES:
        return getattr(import_module(MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """List the public names, imported or not."""
    return __all__
