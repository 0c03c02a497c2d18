"""Stages on a catalog with rows, and their records, for recorded calls."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import product as product_of
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pyarrow as pa
from stages import NOW, fetched, observation, product, rejection, stage_at
from valid_catalog import make, tile

from hubbleclip.archives.base import ObservationPage
from hubbleclip.config.settings import Settings
from hubbleclip.core import records
from hubbleclip.core.layout import Layout
from hubbleclip.evaluation.names import HEADLINE
from hubbleclip.pipeline.engine.attempts import Step
from hubbleclip.pipeline.engine.runners import RUNNERS
from hubbleclip.pipeline.engine.stage import Stage, layout_of
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
ADAPTERS = patch("hubbleclip.archives.http.client.HTTPAdapter", side_effect=ValueError)
"""No archive can be opened; the calls have the number of its connections."""
UNHEARD = [patch(name) for name in ("os.dup2", "signal.signal", "signal.setitimer")]
UNHEARD += [patch.dict("sys.modules", {"prefect.server.api.server": SimpleNamespace(create_app=dict)})]
"""Signals change nothing, and no server of Prefect is imported."""
SCORES = {"fine_tuned": 0.5, "random": 0.01}
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
    known = {"run_id": name, "dataset_digest": "d", "is_shuffled": False, "status": FINISHED, "model": "m", "steps": 4}
    known |= {"started_at": "2024-01-02T03:04:59+00:00"} | facts
    known |= {"settings_digest": settings_digest(*trained)} if trained else {}
    write_facts(layout.runs / name, dict.fromkeys(REQUIRED_FACTS) | known)
    return layout.runs / name


def evaluated(run: str = "r") -> dict[str, list[Any]]:
    """A dataset of a tile, and the headline metric and the reports of a run; the second report is the newest."""
    of = {"protocol": "fair", "split": "test", "name": HEADLINE, "run_id": run, "low": 0.0}
    made_at = {str(year): NOW.replace(year=year) for year in (2022, 2024, 2023)}
    return {
        "dataset": [make(records.Dataset, digest="d")],
        "placement": [make(records.Placement, dataset_digest="d")],
        "metric": [make(records.Metric, model=n, value=v, high=2 * v, **of) for n, v in SCORES.items()],
        "report": [make(records.Report, run_id=run, report_id=n, path=n, made_at=at) for n, at in made_at.items()],
    }


@contextmanager
def apart(folder: Path, **flows: Any) -> Iterator[SimpleNamespace]:
    """A stage whose two workers are threads that count as processes of their own."""
    settings = Settings(data=folder, store=f"file://{folder}/s", flows={"runner": "dask", "workers": 2} | flows)
    with patch.dict(RUNNERS, dask=RUNNERS["dask"]._replace(open=RUNNERS["threads"].open)):
        yield SimpleNamespace(name="x", settings=settings, layout=layout_of(settings))


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


@contextmanager
def of_visits(folder: Path, names: str, **rows: list[Any]) -> Iterator[Stage]:
    """A stage with the default settings, and one visit in its catalog for each letter."""
    with opened(folder, visits(*names) | rows) as stage:
        yield replace(stage, settings=Settings())


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
