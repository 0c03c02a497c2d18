"""Stages on a catalog with rows, and their records, for recorded calls."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import product as product_of
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
from stages import NOW, fetched, observation, product, rejection, stage_at
from valid_catalog import make, tile

from hubbleclip.archives.base import ObservationPage
from hubbleclip.config.settings import Settings
from hubbleclip.core import records
from hubbleclip.core.layout import Layout
from hubbleclip.pipeline.engine.attempts import Step
from hubbleclip.pipeline.engine.stage import Stage
from hubbleclip.training.runs import FINISHED, REQUIRED_FACTS, settings_digest, write_facts

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


def published(folder: Path, **rows: list[Any]) -> None:
    """Publish a catalog with these rows."""
    with opened(folder, rows):
        pass


def ran(layout: Layout, name: str, *trained: Any, **facts: Any) -> Path:
    """The folder of a finished run, by default on the dataset `d`; `trained` has its settings of model and training."""
    known = {"run_id": name, "dataset_digest": "d", "is_shuffled": False, "status": FINISHED} | facts
    known |= {"settings_digest": settings_digest(*trained)} if trained else {}
    write_facts(layout.runs / name, dict.fromkeys(REQUIRED_FACTS) | known)
    return layout.runs / name


def visits(*names: str) -> dict[str, list[Any]]:
    """A fetched and cut product in three filters of each visit in turn, which is of a proposal of its own."""
    rows: dict[str, list[Any]] = {"observation": [], "product": [], "tile": []}
    rows["proposal"] = [make(records.Proposal, proposal_id=f"hst:{name}") for name in names]
    for number, (band, name) in enumerate(product_of(("F336W", "F814W", "F555W"), names)):
        one = fetched(f"o{number}", f"{number // len(names)}" * 64, proposal=f"hst:{name}")
        rows["observation"].append(replace(observation(one.obs_id, one.proposal_id), visit=name))
        rows["product"].append(one)
        of = {
            "product_uri": one.uri,
            "product_sha256": one.sha256,
            "obs_id": one.obs_id,
            "proposal_id": one.proposal_id,
        }
        rows["tile"].append(tile(f"{9 - number}", settings_digest=Settings().tiles.digest(), filter=band, **of))
    return rows


def page(names: str) -> ObservationPage:
    """A page of observations, each with a letter as name."""
    return ObservationPage(observations=[*map(observation, names)])


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
