"""The rows that stages exchange, one class per table: frozen, typed, named as in the data contract.

Units are in the names; sky positions are ICRS degrees; times that end in `_at` are UTC and never part of an identity.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """One observing proposal. `proposal_id` is `archive:number`, because numbers repeat between missions.

    `pi` is the principal investigator. `provenance` is JSON: the source of each field, and differing values of other
    sources.
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
    """One observation of the Common Archive Observation Model (CAOM), on which MAST is built.

    `obs_id` is its name, `obsid` MAST's internal number: do not confuse them. `footprint` is an s_region string.
    `visit` names the proposal's visit; `fingerprint` is a hash of the archive's whole row, to detect a change.
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
    """One selected file of an observation; `choice` is the reason of the selection.

    `sha256` is null until the file is fetched, `path` also after the file is deleted. `archive_version` is the file's
    version in the archive's current listing, `fetched_version` the one at the time of the download: where they differ,
    a newer file is to be fetched. `version` counts the contents from 1; `superseded_at` is set when the file is no
    longer selected.
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
    """One content of a product over time; the product's own row holds the newest."""

    uri: str
    version: int
    sha256: str
    archive_version: str | None
    size_bytes: int
    source: str
    fetched_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """The last request for an observation's product list; `fingerprint` is that of the observation at the time."""

    obs_id: str
    settings_digest: str
    fingerprint: str | None
    listed_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """An item that failed and is retried by a later run, from `next_try_at` on. Key: (entity, entity_id, stage)."""

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
    """A square image cut from a product. `chip` is the FITS extension; (y0, x0) is negative where the tile is padded.

    A display level is `255 * f((value - black) / (white - black))` with the stretch `f`; `sky`, `noise`, `black`,
    `white` and `softening` are in `unit`. `corners_deg` holds ra, dec of the outer corners in the order (y0, x0),
    (y0, x1), (y1, x1), (y1, x0); empty without WCS. `view` is native, overview, aim or colour. `shrink` is the
    downsampling factor: image pixels per tile pixel along one axis. `part_uris` names the products of a colour tile,
    red first.
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
    """One text of a proposal: its abstract, title or another kind in the caption registry."""

    proposal_id: str
    kind: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitAssignment:
    """The split of a tile: `train`, `val`, `test`, or `excluded` with the reason."""

    tile_id: str
    group_id: str
    split: str
    reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One image-text sample: the same row in the tar's `json` member, the manifest and the catalog."""

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
    """Position of a sample's image in a dataset: `offset` and `length` of the image data in the shard, in bytes."""

    dataset_digest: str
    tile_id: str
    shard: str
    offset: int
    length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """One tar file of samples. `home_digest` is the dataset whose directory holds the file, null for this one."""

    dataset_digest: str
    shard: str
    split: str
    sha256: str
    size_bytes: int
    num_samples: int
    home_digest: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """An immutable directory of shards. `digest` hashes its content, `inputs_digest` the rows and settings it is built
    from; `parent_digest` is the older dataset whose shards it reuses.
    """

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
    """An item that cannot be used, and why. Key: (entity, entity_id, stage)."""

    entity: str
    entity_id: str
    stage: str
    reason: str
    detail: str
    settings_digest: str
    rejected_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Watermark:
    """The release date (MJD) up to which the results of an archive query are complete."""

    archive: str
    query_digest: str
    released_mjd: float
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One training run, as its run directory describes it."""

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
    """Weights of a run at an optimizer step."""

    run_id: str
    step: int
    path: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One metric of a report, with its 95 % interval (`low`, `high`).

    `model` is fine_tuned, base, shuffled, random, bm25 or oracle.
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
    """One evaluation, written to `reports/<report_id>/`."""

    report_id: str
    run_id: str
    settings_digest: str
    path: str
    made_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Promotion:
    """The decision whether a run replaces the promoted one; `low` and `high` bound the paired difference on val."""

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
    """Convert a record to a dict.

    Parameters
    ----------
    record
        Any record of this module.

    Returns
    -------
    dict
        Field names and values, in the order of the fields. Lists are shared with the record: `dataclasses.asdict`
        would copy them, which is slow for large tables.

    """
    return {name: getattr(record, name) for name in record.__dataclass_fields__}
