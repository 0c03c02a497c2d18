"""The rows that travel between stages: frozen, typed, in the words of the data contract.

Units are in the names; sky positions are ICRS degrees; times that end in `_at` are UTC and never part of an identity.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """One observing proposal. `proposal_id` is `archive:number`, since numbers repeat between missions.

    `provenance` is JSON: which source each field was taken from, and what others said where they differ.
    """

    proposal_id: str
    archive: str
    number: str
    cycle: int | None
    proposal_type: str | None
    category: str | None
    title: str
    pi: str | None
    abstract: str | None
    source: str
    fetched_at: datetime
    provenance: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """One CAOM observation. `obs_id` is the name, `obsid` the archive's number: never the same thing.

    `visit` names the proposal's visit; `fingerprint` is a hash of all that the archive said, so that a change is seen.
    """

    obs_id: str
    archive: str
    obsid: int | None
    proposal_id: str
    instrument: str
    filters: str | None
    target_name: str | None
    target_class: str | None
    is_moving: bool
    ra_deg: float | None
    dec_deg: float | None
    footprint: str | None
    start_mjd: float | None
    exposure_s: float | None
    calib_level: int | None
    released_mjd: float | None
    title: str | None
    fetched_at: datetime
    visit: str | None = None
    fingerprint: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """One file of an observation, chosen for the stated reason. `sha256` is null until it is fetched, `path` also after
    the file is dropped.

    `archive_version` is what the archive's listing tells of the file's version, `fetched_version` what it told when the
    bytes were fetched: where the two differ, a newer file waits to be fetched. `version` counts from 1.
    """

    uri: str
    obs_id: str
    proposal_id: str
    file_name: str
    kind: str
    size_bytes: int | None
    choice: str
    sha256: str | None = None
    path: str | None = None
    fetched_at: datetime | None = None
    archive_version: str | None = None
    fetched_version: str | None = None
    version: int | None = None
    source: str | None = None
    etag: str | None = None
    superseded_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductVersion:
    """One content that a product has had; the newest is the one that the product names."""

    uri: str
    version: int
    sha256: str
    archive_version: str | None
    size_bytes: int
    source: str
    fetched_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """When an observation's products were last asked for, and of which row (`fingerprint`) under which settings."""

    obs_id: str
    settings_digest: str
    fingerprint: str | None
    listed_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """An item that failed and is tried again in a later run, from `next_try_at` on. One row an (entity, entity_id,
    stage).
    """

    entity: str
    entity_id: str
    stage: str
    attempts: int
    error: str
    detail: str
    first_at: datetime
    last_at: datetime
    next_try_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """A square PNG cut from a product. `chip` is the FITS extension; (y0, x0) may be negative where a tile is padded.

    A display level is `255 * f((value - black) / (white - black))`; sky, noise, black, white and softening are in
    `unit`. `corners_deg` is ra, dec of the outer corners in the order (y0, x0), (y0, x1), (y1, x1), (y1, x0); empty
    without WCS. `view` is native, overview, aim or colour; `shrink` pixels of the image a side make one of the tile;
    `part_uris` names the products of a colour tile, red first.
    """

    tile_id: str
    product_uri: str
    product_sha256: str
    obs_id: str
    proposal_id: str
    path: str
    png_sha256: str
    chip: int
    y0: int
    x0: int
    size_px: int
    instrument: str | None
    filter: str | None
    unit: str | None
    ra_deg: float | None
    dec_deg: float | None
    corners_deg: list[float]
    pixel_scale_arcsec: float | None
    wcs: str | None
    valid_share: float
    sky: float
    noise: float
    black: float
    white: float
    softening: float
    settings_digest: str
    cut_at: datetime
    view: str | None = None
    shrink: float | None = None
    part_uris: list[str] | None = None
    size_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Caption:
    """A text made from a proposal."""

    proposal_id: str
    kind: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitAssignment:
    """Where a tile belongs: `train`, `val`, `test`, or `excluded` with the reason."""

    tile_id: str
    group_id: str
    split: str
    reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The one row that stands in the tar's `json` member, the manifest and the catalog."""

    tile_id: str
    split: str
    group_id: str
    proposal_id: str
    archive: str
    category: str | None
    title: str
    pi: str | None
    cycle: int | None
    obs_id: str
    target_name: str | None
    target_class: str | None
    is_moving: bool
    instrument: str | None
    filter: str | None
    ra_deg: float | None
    dec_deg: float | None
    corners_deg: list[float]
    pixel_scale_arcsec: float | None
    valid_share: float
    product_uri: str
    product_sha256: str
    png_sha256: str
    caption_kinds: list[str]
    captions: list[str]
    view: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where a dataset keeps a sample's PNG: `offset` and `length` are bytes of the image data inside the shard."""

    dataset_digest: str
    tile_id: str
    shard: str
    offset: int
    length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """One tar of samples."""

    dataset_digest: str
    shard: str
    split: str
    sha256: str
    size_bytes: int
    num_samples: int
    home_digest: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """An immutable directory of shards. `digest` is over its content, `inputs_digest` over what it was made from."""

    digest: str
    inputs_digest: str
    path: str
    num_samples: int
    num_shards: int
    contract_version: str
    built_at: datetime
    parent_digest: str | None = None
    num_new_samples: int | None = None
    test_list_sha256: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """An item left out, and why. One row an (entity, entity_id, stage)."""

    entity: str
    entity_id: str
    stage: str
    reason: str
    detail: str
    settings_digest: str
    rejected_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Watermark:
    """Up to which release date (MJD) a query has been answered in full."""

    archive: str
    query_digest: str
    released_mjd: float
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One training, as its run directory tells it."""

    run_id: str
    dataset_digest: str
    settings_digest: str
    path: str
    model: str
    pretrained: str
    loss: str
    is_shuffled: bool
    steps: int
    samples_seen: int
    seed: int
    device: str
    best_step: int
    settings: str
    code_version: str
    started_at: datetime
    ended_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """Weights of a run at a step."""

    run_id: str
    step: int
    path: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One figure of a report: `model` is fine_tuned, base, shuffled, random, bm25 or oracle; `low`, `high` the 95 %
    interval.
    """

    run_id: str
    protocol: str
    split: str
    model: str
    name: str
    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One evaluation, written under `reports/<report_id>/`."""

    report_id: str
    run_id: str
    settings_digest: str
    path: str
    made_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Promotion:
    """Whether a run took the place of the promoted one; `low` and `high` bound the paired difference on val."""

    run_id: str
    previous_run_id: str | None
    is_promoted: bool
    metric: str
    value: float
    difference: float | None
    low: float | None
    high: float | None
    decided_at: datetime


Record = (
    Proposal | Observation | Product | Tile | Caption | SplitAssignment | Sample | Placement | Shard | Dataset
    | Rejection | Attempt | Listing | ProductVersion | Watermark | Run | Checkpoint | Metric | Report | Promotion
)  # fmt: skip


def to_row(record: Record) -> dict[str, Any]:
    """The record as a dict, in the order of its fields (`dataclasses.asdict` would copy every list)."""
    return {name: getattr(record, name) for name in record.__dataclass_fields__}
