"""Stages on a catalog with rows, and their records, for recorded calls."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from stages import NOW, fetched, observation, product, rejection, stage_at
from valid_catalog import tile

from hubbleclip.config.settings import Settings
from hubbleclip.core import records
from hubbleclip.pipeline.engine.attempts import Step
from hubbleclip.pipeline.engine.stage import Stage

__all__ = [
    "NOW",
    "STEP",
    "Settings",
    "SimpleNamespace",
    "fetched",
    "observation",
    "product",
    "records",
    "rejection",
    "replace",
    "tile",
]
STEP = Step(name="cut", entity="product", stage="tiles", digest="d", key="uri")


@contextmanager
def opened(folder: Path, rows: dict[str, list[Any]], **overrides: Any) -> Iterator[Stage]:
    """A stage whose catalog has these rows."""
    with stage_at(folder, overrides) as stage:
        stage.catalog.upsert(rows)
        yield stage
