"""Stages on a catalog with rows, and their records, for recorded calls."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
from stages import NOW, fetched, observation, product, rejection, stage_at
from valid_catalog import make, tile

from hubbleclip.config.settings import Settings
from hubbleclip.core import records
from hubbleclip.core.layout import Layout
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


def published(folder: Path) -> None:
    """Publish an empty catalog."""
    with opened(folder, {}):
        pass


def stored(folder: Path, keep_local: bool = True) -> Layout:
    """A profile `r` beside its remote store `s`."""
    return Layout(folder / "r", f"file://{folder}/s", keep_local)


def pictures(names: str) -> list[records.Sample]:
    """A sample per letter, which is the hash of its picture too."""
    return [make(records.Sample, tile_id=name, png_sha256=name) for name in names]


def pictured(names: str) -> SimpleNamespace:
    """A dataset of these samples whose pictures are their ids, which is also a benchmark of the texts `x` and `y`."""
    manifest = pa.table({column: [*names] for column in ("tile_id", "png_sha256")})
    of = {"samples": pictures(names), "texts": "xy"}
    return SimpleNamespace(digest="d", manifest=manifest, read_tile_images=list, **of)


def lister(*products: records.Product, broken: str = "") -> SimpleNamespace:
    """An archive that lists these products, unless one of them is broken, and renews each file of which it is asked."""
    asked = []

    def list_products(some: list[records.Observation], taken: object) -> Any:
        asked.append([one.obs_id for one in some])
        if broken in asked[-1]:
            raise ValueError("bad")
        return [one for one in products if one.obs_id in asked[-1]], []

    def renewed_files(some: list[records.Product]) -> Any:
        asked.append([one.uri for one in some])
        if broken in asked[-1]:
            raise ValueError("bad")
        return asked[-1], []

    return SimpleNamespace(asked=asked, list_products=list_products, renewed_files=renewed_files)
