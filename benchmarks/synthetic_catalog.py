"""A synthetic catalog of the size of a whole archive: rows of every table that views and searches read."""

from __future__ import annotations

import hashlib
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from benchmarks.synthetic_data import make_tile_rows
from hubbleclip.config.settings import SimulatorSettings
from hubbleclip.contracts.schema import tables
from hubbleclip.simulator.observations import make_proposals

NOW = datetime(2024, 1, 1)
INSTRUMENTS = ("WFC3/UVIS", "WFC3/IR", "ACS/WFC", "ACS/HRC", "WFPC2/PC", "NICMOS/NIC2")
FILTERS = ("F160W", "F435W", "F475W", "F606W", "F702W", "F775W", "F814W", "F850LP")
SPLITS, SHARES = ("train", "val", "test"), (0.9, 0.05, 0.05)
OBSERVATIONS_PER_PROPOSAL = 10
TILES_PER_SHARD = 10_000
NUM_ABSTRACTS = 1000  # simulated abstracts, from which longer ones are joined
DIGEST = "d" * 32


def make_catalog_rows(num_observations: int, num_tiles: int, folder: Path, tile_settings: str) -> dict[str, pa.Table]:
    """Make rows by table; `tile_settings` is the digest of the tile settings.

    Ten observations per proposal, one product each, tiles distributed evenly over products and over the sphere, one
    sample and one placement per tile, and a rejection for every tenth product.
    """
    rng = np.random.default_rng(1)
    num_shards = max(1, num_tiles // TILES_PER_SHARD)
    proposal_index = np.arange(num_observations) // OBSERVATIONS_PER_PROPOSAL  # of each observation
    observation_index = np.arange(num_tiles) * num_observations // num_tiles  # of each tile
    proposal_ids = np.array([f"hst:{index}" for index in range(proposal_index[-1] + 1)])
    proposal = {"proposal_id": proposal_ids[proposal_index]}
    obs_ids = np.array([f"hst_{n}_{i % 10:02d}_wfc3_uvis_f606w_i{i:06x}" for i, n in enumerate(proposal_index)])
    uris = np.char.add(np.char.add("mast:HST/product/", obs_ids), "_drc.fits")
    hashes = np.array([hashlib.sha256(uri.encode()).hexdigest() for uri in uris])
    instruments, filters = rng.choice(INSTRUMENTS, num_observations), rng.choice(FILTERS, num_observations)
    shards = np.array([f"train-{index:06d}.tar" for index in range(num_shards)])
    tile = make_tile_rows(num_tiles, folder)
    ids = {"tile_id": tile["tile_id"]}
    # uniform on the sphere: the sine of the declination is uniform
    provenance = {
        "obs_id": obs_ids[observation_index],
        "proposal_id": proposal_ids[proposal_index[observation_index]],
        "product_uri": uris[observation_index],
        "product_sha256": hashes[observation_index],
        "instrument": instruments[observation_index],
        "filter": filters[observation_index],
        "ra_deg": rng.uniform(0, 360, num_tiles),
        "dec_deg": np.degrees(np.arcsin(rng.uniform(-1, 1, num_tiles))),
    }
    group = {"group_id": provenance["proposal_id"], "split": rng.choice(SPLITS, num_tiles, p=SHARES)}
    rejected = uris[::10]
    content = {"size_bytes": 10**8, "version": 1, "source": "mast"}
    return {
        "proposal": _proposals(proposal_ids),
        "observation": synthetic_rows(
            "observation", num_observations, **proposal, obs_id=obs_ids, instrument=instruments, filters=filters
        ),
        "product": synthetic_rows(
            "product", num_observations, **proposal, **content, uri=uris, obs_id=obs_ids, sha256=hashes, path=hashes
        ),
        "product_version": synthetic_rows("product_version", num_observations, **content, uri=uris, sha256=hashes),
        "tile": _with(tile, {**provenance, "settings_digest": [tile_settings] * num_tiles}),
        "split": synthetic_rows("split", num_tiles, **ids, **group),
        "sample": synthetic_rows(
            "sample", num_tiles, **ids, **provenance, **group, caption_kinds=["title"], captions=["Title"]
        ),
        "placement": synthetic_rows(
            "placement",
            num_tiles,
            **ids,
            dataset_digest=DIGEST,
            length=7000,
            shard=shards[observation_index % num_shards],
        ),
        "dataset": synthetic_rows("dataset", 1, digest=DIGEST, path=f"datasets/{DIGEST}", num_samples=num_tiles),
        "shard": synthetic_rows(
            "shard", num_shards, dataset_digest=DIGEST, split="train", size_bytes=10**8, shard=shards
        ),
        "rejection": synthetic_rows(
            "rejection",
            len(rejected),
            entity="product",
            entity_id=rejected,
            stage="tiles",
            reason=rng.choice(["blank", "no_wcs", "small"], len(rejected)),
        ),
        "run": synthetic_rows("run", 1, run_id="run", dataset_digest=DIGEST),
        "metric": synthetic_rows("metric", 100, run_id="run", name=[f"metric {index}" for index in range(100)]),
    }


def _proposals(ids: npt.NDArray[Any]) -> pa.Table:
    """Make proposals whose abstracts are as long as real ones (about 200 words): each joins five simulated ones."""
    made = make_proposals(SimulatorSettings(num_proposals=NUM_ABSTRACTS))
    texts = [
        " ".join(made[(index * step) % NUM_ABSTRACTS].abstract for step in range(1, 6)) for index in range(len(ids))
    ]
    titles = [made[index % NUM_ABSTRACTS].title for index in range(len(ids))]
    cycles = [index * 30 // len(ids) for index in range(len(ids))]
    return synthetic_rows("proposal", len(ids), proposal_id=ids, cycle=cycles, title=titles, abstract=texts)


def synthetic_rows(table: str, num: int, **columns: Any) -> pa.Table:
    """Make `num` rows of a table from columns, or from one value for all rows; other required columns get a default."""
    defaults = {"string": "made", "int64": 0, "double": 0.5, "bool": False, "timestamp[us]": NOW}
    arrays = []
    for field in tables()[table].schema():
        value = columns.get(field.name, None if field.nullable else defaults.get(str(field.type), []))
        is_column = len(value) == num if isinstance(value, list | np.ndarray | pa.ChunkedArray) else False
        arrays.append(pa.array(value, type=field.type) if is_column else pa.array([value] * num, type=field.type))
    return pa.table(arrays, schema=tables()[table].schema())


def _with(rows: pa.Table, columns: dict[str, Any]) -> pa.Table:
    for name, values in columns.items():
        index = rows.schema.get_field_index(name)
        rows = rows.set_column(index, rows.schema.field(index), pa.array(values, type=rows.schema.field(index).type))
    return rows
