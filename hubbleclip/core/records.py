"""Records that the stages exchange: one frozen dataclass per catalog table, with the data contract's column names.

Field names contain the unit. Sky positions are ICRS, in degrees. Fields whose names end in `_at` are times in UTC and
are never part of a record's identity.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar, Protocol

from hubbleclip.core.errors import without_control

HEADER_SOURCE = "header"
"""Value of `Proposal.source` and `Sample.caption_source` for texts that were made from the headers of files."""
PROPOSAL_SOURCE = "proposal"
MAX_DETAIL = 500
"""Maximum length of a Rejection's detail, in characters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """One observing proposal.

    `proposal_id` is `archive:number`, because different missions use the same numbers. `pi` is the name of the
    principal investigator. `provenance` is a JSON text that names the source of each field and lists the values of
    other sources that disagree.
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
    """One observation, as defined by the Common Archive Observation Model (CAOM) that MAST uses.

    `obs_id` is the observation's name; `obsid` is MAST's internal number for the same observation. `footprint` is an
    s_region string. `visit` names the proposal's visit that the observation belongs to. `fingerprint` is a hash of
    the archive's columns that are read; a different hash shows that the archive has changed the observation.
    `query_digest` is the digest of the archive settings of the last query that returned the observation. `withdrawn_at`
    is set when the archive no longer lists the observation.
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
    query_digest: str | None = None
    withdrawn_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """One file of an observation that was selected for download; `choice` is the reason for the selection.

    `sha256` and `path` are null until the file is downloaded; `path` is null again after the local file is deleted.
    `archive_version` is the file's version in the archive's current listing; `fetched_version` is the version at the
    time of the download. If the two differ, the newer file must be downloaded. `version` is 1 for the first content of
    the file and increases by 1 with each new content. `superseded_at` is set when the file is no longer selected.
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
    """One downloaded version of a product's content; the `Product` row describes the newest version."""

    uri: str
    version: int
    sha256: str
    archive_version: str | None
    size_bytes: int
    source: str
    fetched_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """The latest request for an observation's product list.

    `fingerprint` is the observation's fingerprint at the time of the request.
    """

    obs_id: str
    settings_digest: str
    fingerprint: str | None
    listed_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """An item that failed and will be retried by a later run; `next_try_at` is the earliest time of the retry.

    `entity` names the kind of item, such as `product`. The primary key is (entity, entity_id, stage).
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
    """A square image that was cut from a product.

    `chip` is the index of the FITS extension, plus 1000 times the plane's index in a cube. (y0, x0) is the tile's
    first pixel in coordinates of the image; it is negative where the tile is padded. A grey level of the tile is
    `255 * f((value - black) / (white - black))`, where `f` is the stretch function; `sky`, `noise`, `black`, `white`
    and `softening` are in `unit`. `corners_deg` lists right ascension and declination of the outer corners in the order
    (y0, x0), (y0, x1), (y1, x1), (y1, x0); the list is empty if the image has no WCS. `view` is native, overview, aim
    or colour. `shrink` is the downsampling factor: the number of image pixels per tile pixel along one axis.
    `part_uris` lists the products that a colour tile is made from, in the order red, green, blue. `note` says what a
    user of the tile must know, such as an unknown camera.
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
    note: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AbstractSummary:
    """Texts that rules or a language model wrote about one abstract; `is_model` is true for a language model.

    `writer` identifies the rules or the model, the prompt, the schema and the seed, as in `rules-1.1`. `objects` and
    `target_names` contain only phrases that occur in the title or the abstract. `ungrounded` contains the phrases that
    occur in neither. `num_named` is the number of phrases that were checked. `num_calls` is the number of requests to
    the model, including retries.
    """

    abstract_sha256: str
    writer: str
    is_model: bool
    model: str
    prompt_version: int
    prompt_digest: str
    schema_version: int
    seed: int
    objects: list[str]
    phenomena: list[str]
    science_aims: list[str]
    target_names: list[str]
    category: str
    summary: str
    search_phrases: list[str]
    ungrounded: list[str]
    num_named: int
    num_calls: int
    prompt_tokens: int | None
    answer_tokens: int | None
    duration_s: float
    answered_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitAssignment:
    """The split of a tile: `train`, `val`, `test` or `excluded`; `reason` is set for excluded tiles only."""

    tile_id: str
    group_id: str
    split: str
    reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One image-text sample; the same row is in the `json` member of the tar file, the manifest and the catalog.

    The fields from `chip` to `softening` have the same meaning as in `Tile`: position of the tile in the product, WCS,
    and limits of the stretch. `caption_source` is `proposal`, or `header` for captions that were made from the file's
    header; None means `proposal`.
    """

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
    chip: int | None = None
    y0: int | None = None
    x0: int | None = None
    shrink: float | None = None
    wcs: str | None = None
    unit: str | None = None
    black: float | None = None
    white: float | None = None
    softening: float | None = None
    caption_source: str | None = None

    @property
    def main_caption(self) -> str:
        """The first caption. Evaluation uses the whole caption; training uses the caption or some of its sentences."""
        return self.captions[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Position of a sample's image in a dataset: the image's shard, and its byte offset and length in the shard."""

    dataset_digest: str
    tile_id: str
    shard: str
    offset: int
    length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """One tar file of samples.

    `home_digest` is the digest of the older dataset whose directory contains the file. It is null if the file is in the
    directory of the dataset that the row belongs to.
    """

    dataset_digest: str
    shard: str
    split: str
    sha256: str
    size_bytes: int
    num_samples: int
    home_digest: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """An immutable directory of shards.

    `digest` is a hash of the directory's content. `inputs_digest` is a hash of the rows and settings from which the
    dataset was built. `parent_digest` identifies the older dataset whose shards this dataset reuses.
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
    """An item that cannot be used, with the reason. `entity` names the kind of item, such as `product`.

    The primary key is (entity, entity_id, stage).
    """

    entity: str
    entity_id: str
    stage: str
    reason: str
    detail: str
    settings_digest: str
    rejected_at: datetime


def reject(entity: str, entity_id: str, stage: str, *, reason: str, detail: str, settings_digest: str) -> Rejection:
    """Create a Rejection with the current time as its date."""
    return Rejection(
        entity=entity,
        entity_id=entity_id,
        stage=stage,
        reason=reason,
        detail=without_control(detail)[:MAX_DETAIL],
        settings_digest=settings_digest,
        rejected_at=datetime.now(UTC),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Watermark:
    """Release date, as MJD, up to which all results of an archive query have been stored."""

    archive: str
    query_digest: str
    released_mjd: float
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class DayCount:
    """Number of rows that an archive query returned for one day of release; None if that day must be queried again."""

    archive: str
    query_digest: str
    day_mjd: int
    num_rows: int | None
    counted_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One training run, as recorded in its run directory."""

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
    """Model weights that a run saved after an optimizer step."""

    run_id: str
    step: int
    path: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One metric of an evaluation report; `low` and `high` are the ends of its 95 % interval.

    `model` is fine_tuned, base, shuffled, random, bm25 or oracle (a baseline that knows only the class of the target).
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
    """One evaluation of a run; its files are in `reports/<report_id>/`."""

    report_id: str
    run_id: str
    settings_digest: str
    path: str
    made_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Promotion:
    """Decision whether a run replaces the run that is currently promoted.

    `difference` is the metric of this run minus the metric of the previous run, paired on the same validation split.
    `low` and `high` are the ends of the 95 % interval of the difference.
    """

    run_id: str
    previous_run_id: str | None
    is_promoted: bool
    metric: str
    value: float
    difference: float | None
    low: float | None
    high: float | None
    decided_at: datetime


class Record(Protocol):
    """A record of any class in this module."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


def to_row(record: Record) -> dict[str, Any]:
    """Convert a record to a dict in the order of its fields. Lists are not copied."""
    # `dataclasses.asdict` copies lists, which is slow for large tables
    return {name: getattr(record, name) for name in record.__dataclass_fields__}
