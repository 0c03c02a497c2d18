"""A synthetic profile that can be searched: catalog, features, and a run of a model with random weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.bench_search import features
from benchmarks.synthetic_catalog import make_catalog_rows
from hubbleclip.catalog.working_copy import writing_catalog
from hubbleclip.config.settings import ModelSettings, TileSettings, TrainSettings
from hubbleclip.core.layout import Layout
from hubbleclip.search.open_index import STORE, CurrentIndex, open_store, write_current
from hubbleclip.training.checkpoints import model_digest, write_best, write_checkpoint
from hubbleclip.training.models.builder import load_model
from hubbleclip.training.runs import finish_run, open_run

TILES_PER_OBSERVATION = 10
BATCH = 50_000
SEED = 1
KINDS = (
    "GALAXY;SPIRAL",
    "GALAXY;ELLIPTICAL",
    "GALAXY;QUASAR",
    "GALAXY;INTERACTING GALAXY",
    "STAR;WHITE DWARF",
    "STAR;T TAURI",
    "STELLAR CLUSTER;GLOBULAR CLUSTER",
    "STELLAR CLUSTER;OPEN CLUSTER",
    "ISM;PLANETARY NEBULA",
    "ISM;SUPERNOVA REMNANT",
    "CLUSTER OF GALAXIES;GRAVITATIONAL LENS",
    "SOLAR SYSTEM;COMET",
    "UNIDENTIFIED;PARALLEL FIELD",
    "CALIBRATION;DETECTOR",
)
"""Classes of targets, as observers write them."""


def make_site(layout: Layout, num_tiles: int, model: ModelSettings) -> None:
    """Write a catalog of `num_tiles` tiles, a run of the model, and an index of drawn features."""
    tile_ids = _write_catalog(layout, num_tiles)
    run_dir, num_dims = _write_run(layout, model)
    digest = model_digest(run_dir)
    store = open_store(layout, digest)
    for start in range(0, num_tiles, BATCH):
        some = tile_ids[start : start + BATCH]
        store.append(some, features(len(some), start)[:, :num_dims])
    store.close()
    current = CurrentIndex(
        model_digest=digest,
        run=layout.relative(run_dir),
        store=STORE,
        tiles=TileSettings().model_dump(mode="json"),
        num_tiles=num_tiles,
    )
    write_current(layout, current)


def _write_catalog(layout: Layout, num_tiles: int) -> list[str]:
    """Write the catalog, and return the tile ids in order."""
    layout.root.mkdir(parents=True)
    num = num_tiles // TILES_PER_OBSERVATION
    rows = make_catalog_rows(num, num_tiles, layout.root, TileSettings().digest())
    rng = np.random.default_rng(SEED)
    targets = {
        "target_name": [f"NGC-{number}" for number in rng.integers(1, num, num)],
        "target_class": rng.choice(KINDS, num),
    }
    with writing_catalog(layout) as catalog:
        for name, table in rows.items():
            catalog.upsert({name: _with(table, targets) if name == "observation" else table})
    return sorted(rows["tile"]["tile_id"].to_pylist())


def _with(table: pa.Table, columns: dict[str, list[str]]) -> pa.Table:
    """Replace columns of a table."""
    for name, values in columns.items():
        index = table.schema.get_field_index(name)
        table = table.set_column(index, table.schema.field(index), pa.array(values, table.schema.field(index).type))
    return table


def _write_run(layout: Layout, model: ModelSettings) -> tuple[Path, int]:
    """Write a finished run of an untrained model, and return its folder and the length of its features."""
    names = {"code_version": "0", "device": "cpu"}
    with open_run(layout.runs, "d" * 32, model, TrainSettings(), **names) as run_dir:
        loaded = load_model(model, SEED)
        write_checkpoint(run_dir, 1, {"state_dict": loaded.model.state_dict()})
        write_best(run_dir, 1, None)
        finish_run(run_dir, 0, 1, [])
    return run_dir, loaded.encode_texts(["a"]).shape[1]
