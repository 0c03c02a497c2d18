"""A small catalog that keeps every rule. The first row of a table is used by others; a later one can be changed alone."""

import typing
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from hubbleclip.contracts.validation import RuleResult, check_rules
from hubbleclip.core import records
from hubbleclip.core.records import Record

NOW = datetime(2024, 1, 2, tzinfo=UTC)
RUNS = ("20240102T000000-00000001", "20240102T000000-00000002", "20240102T000000-00000003")


def hex_of(letter: str, length: int) -> str:
    """An artificial hash."""
    return letter * length


OF_TYPE = {str: "Stars.", int: 1, float: 1.0, bool: False, datetime: NOW, list[str]: ["star"]}
"""Values of required columns that are in no other table here."""
OF_COLUMN: dict[str, Any] = {
    **dict.fromkeys(("archive_version", "fetched_version", "number"), "1"),
    **dict.fromkeys(("black", "sky"), 0.0),
    **dict.fromkeys(("calib_level", "num_named"), 3),
    **dict.fromkeys(("chip", "version"), 1),
    **dict.fromkeys(("digest", "dataset_digest", "tile_id"), hex_of("1", 32)),
    **dict.fromkeys(("entity_id", "product_uri", "uri"), "mast:p1"),
    **dict.fromkeys(("filter", "filters"), "F606W"),
    **dict.fromkeys(("product_sha256", "sha256"), hex_of("b", 64)),
    **dict.fromkeys(("prompt_digest", "query_digest", "settings_digest"), hex_of("d", 16)),
    **dict.fromkeys(("provenance", "settings"), "{}"),
    **dict.fromkeys(("x0", "y0"), 0),
    "abstract": "Stars.",
    "abstract_sha256": hex_of("a", 64),
    "answer_tokens": 90,
    "archive": "hst",
    "caption_kinds": ["abstract"],
    "caption_source": "proposal",
    "captions": ["Stars."],
    "category": "STARS",
    "contract_version": "1.2.0",
    "corners_deg": [10.0, 41.0] * 4,
    "cycle": 20,
    "day_mjd": 58100,
    "dec_deg": 41.0,
    "device": "cpu",
    "entity": "product",
    "etag": "e",
    "exposure_s": 300.0,
    "fetched_at": NOW,
    "file_name": "a_drz.fits",
    "fingerprint": hex_of("a", 32),
    "footprint": "POLYGON",
    "group_id": "g1",
    "inputs_digest": hex_of("e", 32),
    "instrument": "WFC3/UVIS",
    "kind": "abstract",
    "loss": "clip",
    "obs_id": "o1",
    "obsid": 7,
    "path": "products/b",
    "phenomena": ["accretion"],
    "pi": "A. Nova",
    "pixel_scale_arcsec": 0.04,
    "png_sha256": hex_of("c", 64),
    "prompt_tokens": 500,
    "proposal_id": "hst:1",
    "proposal_type": "GO",
    "protocol": "fair",
    "ra_deg": 10.0,
    "released_mjd": 58100.0,
    "run_id": RUNS[0],
    "shard": "train-000000.tar",
    "shrink": 1.0,
    "size_bytes": 9,
    "size_px": 64,
    "softening": 3.0,
    "source": "mast",
    "split": "train",
    "stage": "fetch",
    "start_mjd": 58000.0,
    "target_class": "GALAXY",
    "target_name": "M31",
    "test_list_sha256": hex_of("f", 64),
    "title": "Stars",
    "ungrounded": ["quasar"],
    "unit": "ELECTRONS/S",
    "view": "native",
    "visit": "iabc01",
    "wcs": "WCSAXES",
    "white": 9.0,
}


def broken_rules(query: Any) -> list[RuleResult]:
    """The rules that at least one row of a catalog breaks."""
    return [result for result in check_rules(query) if result.num_broken]


@cache
def defaults(record: Any) -> dict[str, Any]:
    """Valid values of a record; an optional column that is not in `OF_COLUMN` is None."""
    hints = typing.get_type_hints(record)
    return {field.name: OF_COLUMN.get(field.name, OF_TYPE.get(hints[field.name])) for field in fields(record)}


def make(record: Any, **values: Any) -> Any:
    """A valid record with some values of its own."""
    return record(**defaults(record) | values)


def proposal(number: str) -> records.Proposal:
    return make(records.Proposal, proposal_id=f"hst:{number}", number=number, source="abstracts.cat")


def observation(obs_id: str, **changes: Any) -> records.Observation:
    return make(records.Observation, **{"obs_id": obs_id} | changes)


def product(uri: str, **changes: Any) -> records.Product:
    return make(records.Product, **{"uri": uri, "kind": "drz", "choice": "the only file"} | changes)


def tile(letter: str, **changes: Any) -> records.Tile:
    values = {"tile_id": hex_of(letter, 32), "path": f"tiles/{letter}.png", "size_bytes": 500, "note": "unknown camera"}
    return make(records.Tile, **values | changes)


def sample(letter: str, group_id: str) -> records.Sample:
    return make(records.Sample, tile_id=hex_of(letter, 32), group_id=group_id)


def dataset(letter: str, **changes: Any) -> records.Dataset:
    values = {"digest": hex_of(letter, 32), "num_samples": 0, "num_shards": 0, "path": "datasets/a"}
    return make(records.Dataset, **values | changes)


def summary(letter: str, **changes: Any) -> records.AbstractSummary:
    values = {"writer": "small-1.1.7", "is_model": True, "model": "small", "category": "Stars", "target_names": ["M31"]}
    return make(records.AbstractSummary, **{"abstract_sha256": hex_of(letter, 64)} | values | changes)


def assignment(letter: str, group_id: str, split: str, reason: str | None = None) -> records.SplitAssignment:
    return records.SplitAssignment(tile_id=hex_of(letter, 32), group_id=group_id, split=split, reason=reason)


def promotion(run_id: str, previous: str | None, difference: float | None) -> records.Promotion:
    low, high = (None, None) if difference is None else (difference - 0.1, difference + 0.1)
    compared = {"previous_run_id": previous, "difference": difference, "low": low, "high": high}
    return make(records.Promotion, run_id=run_id, is_promoted=True, **compared)


def product_version(version: int) -> records.ProductVersion:
    return make(records.ProductVersion, version=version)


def valid_rows() -> dict[str, list[Record]]:
    """Rows of every table."""
    without_tokens = {"is_model": False, "model": "rules", "prompt_tokens": None, "answer_tokens": None}
    checkpoints = [*((run_id, 0) for run_id in RUNS), (RUNS[0], 10)]
    return {
        "proposal": [proposal("1"), proposal("2")],
        "observation": [observation("o1"), observation("o2")],
        "product": [product("mast:p1"), product("mast:p2", version=None, superseded_at=NOW)],
        "product_version": [product_version(1), product_version(2)],
        "listing": [make(records.Listing)],
        "tile": [
            tile("4", proposal_id="hst:2"),
            tile("6", view="colour", part_uris=["mast:p1", "mast:p1", "mast:p2"]),
            *(tile(letter) for letter in "12357"),
        ],
        "abstract_summary": [summary("a"), summary("b", writer="rules-1.1", **without_tokens)],
        "split": [
            assignment("1", "g1", "train"),
            assignment("2", "g1", "train"),
            assignment("3", "g3", "excluded", "overlap"),
            assignment("4", "g4", "train"),
        ],
        "rejection": [make(records.Rejection, entity="observation", entity_id="o2", stage="products")],
        "attempt": [make(records.Attempt, next_try_at=NOW + timedelta(hours=6))],
        "watermark": [make(records.Watermark)],
        "day_count": [make(records.DayCount)],
        "dataset": [
            dataset("1", num_samples=1, num_shards=1),
            dataset("2", num_shards=1),
            dataset("3", parent_digest=hex_of("1", 32), num_new_samples=0),
        ],
        "shard": [
            make(records.Shard, size_bytes=2048),
            make(records.Shard, dataset_digest=hex_of("2", 32), size_bytes=2048, num_samples=0),
        ],
        "placement": [make(records.Placement, offset=512, length=500)],
        "sample": [sample("1", "g1"), sample("2", "g1")],
        "run": [make(records.Run, run_id=run_id, steps=10, best_step=0) for run_id in RUNS],
        "checkpoint": [make(records.Checkpoint, run_id=run_id, step=step) for run_id, step in checkpoints],
        "metric": [
            make(records.Metric, name=name, value=0.5, low=0.4, high=0.6) for name in ("recall_at_1", "recall_at_5")
        ],
        "report": [make(records.Report, report_id=f"{RUNS[0]}-1")],
        "promotion": [promotion(RUNS[0], None, None), promotion(RUNS[1], RUNS[0], 0.1)],
    }
