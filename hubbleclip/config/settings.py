"""Define and read all settings, which are frozen and typed. A profile is one TOML file of settings.

Precedence, lowest first: the defaults below, `hubbleclip.toml` in the working directory, the profile's TOML, the
environment (`HUBBLECLIP_TRAIN__STEPS=100`), the command line. Only `cli` and `flows` create a `Settings`; library
functions take its sections as arguments.
"""

from __future__ import annotations

import logging
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings import SettingsError as SourceError

from hubbleclip.config.base import Section, explain_error
from hubbleclip.config.captions import WRITTEN_KINDS, CaptionSettings
from hubbleclip.config.ingest import ArchiveSettings, FetchSettings, SimulatorSettings
from hubbleclip.config.model import EvaluationSettings, ModelSettings, TrainSettings
from hubbleclip.config.tiles import TileSettings
from hubbleclip.core.errors import SettingsError

__all__ = [
    "ArchiveSettings",
    "CaptionSettings",
    "EvaluationSettings",
    "FetchSettings",
    "FlowSettings",
    "ModelSettings",
    "Section",
    "Settings",
    "ShardSettings",
    "SimulatorSettings",
    "SplitSettings",
    "TileSettings",
    "TrainSettings",
    "profile_file",
    "read_settings",
]

PROFILES_DIR = Path(__file__).parent / "profiles"
SITE_FILE = Path("hubbleclip.toml")
"""File of settings for all profiles, in the working directory."""
UNCONFIRMED: set[str] = set()
"""Values of `captions.base_url` that come from settings files. The API key is sent to these addresses only after the
user has confirmed them.
"""
log = logging.getLogger(__name__)
FIELD_SHARE = 0.5
"""Two proposals observe the same field if at least this share of the observations of each proposal is near an
observation of the other proposal. Such proposals are in one split.
"""
MAX_PARENTS = 30
"""Maximum number of older datasets whose shards a dataset can reuse. A dataset that would need more packs all samples
again.
"""


class SplitSettings(Section):
    """How tiles are split into train, val and test without leakage."""

    added_later: ClassVar[frozenset[str]] = frozenset({"max_tiles_per_proposal", "max_tiles_per_patch"})
    # Rules without a setting: two proposals are in one split if one continues the other or both observe the same field.
    fixed: ClassVar[Mapping[str, Any]] = {"continuations": True, "field_share": FIELD_SHARE}
    val_share: float = Field(0.05, gt=0, lt=0.5)
    """Share of proposal groups for validation."""
    test_share: float = Field(0.05, gt=0, lt=0.5)
    """Share of proposal groups for testing."""
    near_duplicate: float = Field(0.7, gt=0, le=1)
    """Two proposals are in one split if the similarity of their abstracts is at least this value. The similarity is the
    number of shared word 5-grams, divided by the number of 5-grams of the shorter abstract (containment). If the
    shorter abstract has fewer than 10 word 5-grams, the divisor is the number of different 5-grams of both abstracts
    (Jaccard similarity).
    """
    guard_arcsec: float = Field(1.0, ge=0)
    """Tiles of the train split are excluded if their distance from a val or test tile on the sky, in arcseconds, is at
    most this value.
    """
    max_tiles_per_proposal: int = Field(0, ge=0)
    """Maximum number of tiles of a proposal in all splits together; 0 means no limit. Tiles that already have a split
    keep it and count towards the limit. New tiles are added in rounds. Each round adds one tile per file; a hash
    decides the order of a file's tiles.
    """
    max_tiles_per_patch: int = Field(0, ge=0)
    """Maximum number of tiles in a sky patch, from all proposals together; 0 means no limit. A patch is a HEALPix pixel
    with a side of 3.4 arcminutes. A tile without a position is in no patch. A new tile must satisfy both this limit and
    `max_tiles_per_proposal`.
    """
    salt: str = "hubbleclip-1"
    """Salt of the hash that draws the splits; a change invalidates published splits."""
    scheme: str = "random"
    """How test tiles are chosen. `random` chooses the tiles of random groups of proposals. `instrument` and `cycle`
    choose all tiles of some instruments or cycles. The train split has no tiles of these instruments or cycles, so the
    test measures generalisation. `benchmark` chooses all tiles of the programmes in the frozen benchmark. A hash of the
    programme number decides which tenth of all programmes is in the benchmark. Each scheme has its own dataset.
    """
    test_instruments: tuple[str, ...] = ()
    """With `scheme = "instrument"`: instruments of the test split; `*` matches any ending."""
    test_from_cycle: int = Field(0, ge=0)
    """With `scheme = "cycle"`: the first cycle of the test split."""

    @model_validator(mode="after")
    def _asks_for_a_test(self) -> SplitSettings:
        """Refuse a scheme whose test split would be empty or would contain every tile."""
        if self.scheme == "instrument" and not self.test_instruments:
            raise ValueError('splits.scheme = "instrument" needs splits.test_instruments, such as ["WFPC2*"]')
        if self.scheme == "cycle" and not self.test_from_cycle:
            raise ValueError('splits.scheme = "cycle" needs splits.test_from_cycle, such as 28')
        return self


class ShardSettings(Section):
    """How samples are packed into shards."""

    fixed: ClassVar[Mapping[str, Any]] = {"max_parents": MAX_PARENTS}

    max_mb: int = Field(256, ge=1)
    """Maximum size of a shard, in MB."""
    caption_kinds: tuple[str, ...] = ("abstract", "title")
    """Kinds of captions of a sample, by their names in the registry; the first kind is the main caption. The stage
    `captions` makes the kinds `summary`, `phrases` and `objects` with a language model or with rules. If the catalog
    has texts from several models or rules, a suffix selects one of them, as in `summary@rules-1.1`. `press` is the
    title of a press image, and needs `OPO` in `archive.collections`.
    """


class FlowSettings(Section):
    """How stages run, and when scheduled runs start, retry and end."""

    batch_size: int = Field(64, ge=1)
    """Items per task; an interrupted run keeps every finished batch."""
    workers: int = Field(2, ge=1)
    """Maximum number of simultaneous tasks in a stage."""
    runner: str = "threads"
    """Workers for the tasks on files, shards and images: `threads` in the flow's own process, `processes` on the flow's
    machine, or the workers of a `dask` or `ray` cluster.
    """
    dask_address: str = ""
    """Scheduler of a running Dask cluster, such as `tcp://host:8786`, or the class of a Dask cluster to start, such as
    `dask_jobqueue.SLURMCluster`. If a cluster is started, Dask's own configuration defines the cluster's jobs. The
    workers must share the data root, or use a `store`. An empty value starts `workers` local processes.
    """
    ray_address: str = ""
    """Address of a Ray cluster, `auto` or `ray://host:10001`; an empty value starts local processes."""
    max_rejected_share: float = Field(1.0, gt=0, le=1)
    """Maximum share of rejected items in a stage; a stage with a larger share fails. 1.0 means no limit."""
    train_deployment: str = ""
    """Prefect deployment that runs the training, in the form `flow/deployment`; empty means that the current process
    trains.
    """
    train_min_new_samples: int = Field(200, ge=1)
    """Scheduled runs: a training starts if the newest dataset has at least this number of samples that the last
    training did not have.
    """
    catalog_memory_mb: int = Field(1024, ge=128)
    """Memory limit of DuckDB in MiB while a flow writes the catalog. Queries that need more memory use the disk."""
    lock_wait_s: float = Field(14400.0, ge=0)
    """Scheduled runs: maximum wait, in seconds, while another process writes the catalog. Commands do not wait; they
    fail at once.
    """
    timeout_h: float = Field(20.0, gt=0)
    """Scheduled runs: hours after which a run is cancelled. A training is cancelled after seven times this value."""


class Settings(BaseSettings):
    """All settings, by section."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix="HUBBLECLIP_",
        env_nested_delimiter="__",
        use_attribute_docstrings=True,
    )

    profile: str = "demo"
    """Name of the profile. All output of the profile is in `data/<profile>/`."""
    data: Path = Path("data")
    """Root folder of all output."""
    store: str = Field("", pattern=r"^([a-z0-9]+://.+)?$")
    """URL of a remote store, `s3://bucket/prefix` or `file:///folder`, for copies of products, tiles, datasets, runs,
    reports and the published catalog. Each profile has its own folder in the store. Another machine can continue the
    work on a profile from these copies. Empty means no remote store.
    """
    keep_local: bool = True
    """With a `store`: keep products and tiles on the local disk as well."""
    archive: ArchiveSettings = ArchiveSettings()
    fetch: FetchSettings = FetchSettings()
    simulator: SimulatorSettings = SimulatorSettings()
    tiles: TileSettings = TileSettings()
    captions: CaptionSettings = CaptionSettings()
    splits: SplitSettings = SplitSettings()
    shards: ShardSettings = ShardSettings()
    model: ModelSettings = ModelSettings()
    train: TrainSettings = TrainSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    flows: FlowSettings = FlowSettings()

    @model_validator(mode="after")
    def _fit_together(self) -> Settings:
        """Refuse values of different sections that are valid individually but unusable together."""
        written = [kind for kind in self.shards.caption_kinds if kind.partition("@")[0] in WRITTEN_KINDS]
        if written and self.shards.caption_kinds[0] == written[0]:
            raise ValueError(f"the first kind in shards.caption_kinds cannot be {written[0]!r}: put 'abstract' first")
        own = [kind for kind in written if "@" not in kind]
        if own and not self.captions.backend:
            raise ValueError(f"{own[0]!r} in shards.caption_kinds needs captions.backend: set it, such as 'rules'")
        if self.tiles.colour and not self.fetch.keep_fits:
            raise ValueError("tiles.colour needs the files of a whole visit: set fetch.keep_fits = true")
        return self

    @classmethod
    def settings_customise_sources(  # type: ignore[override]
        cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource, **_: Any
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Use the constructor's arguments only, because `read_settings` has already merged all layers."""
        return (init_settings,)

    @property
    def root(self) -> Path:
        """Folder of the profile's output."""
        return self.data / self.profile


def profile_file(profile: str) -> Path:
    """Find the TOML file of a profile, by name or path; raises SettingsError, which lists the known profiles."""
    path = Path(profile) if profile.endswith(".toml") else PROFILES_DIR / f"{profile}.toml"
    if not path.is_file():
        known = sorted(p.stem for p in PROFILES_DIR.glob("*.toml"))
        meant = "".join(f"did you mean {one}? " for one in get_close_matches(profile, known, n=1))
        raise SettingsError(
            f"no profile {profile!r}: {meant}use one of {', '.join(known)}, or the path of a .toml file"
        )
    return path


def read_toml(path: Path) -> dict[str, Any]:
    """Read a settings file without validation; SettingsError if the file cannot be read or is not TOML."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} cannot be read as TOML: {error}") from error


def _merge_tables(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Merge nested tables into a new table; values of `over` override those of `base`."""
    merged = dict(base)
    for key, value in over.items():
        both_are_tables = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge_tables(merged[key], value) if both_are_tables else value
    return merged


def read_settings(profile: str, *overrides: dict[str, Any]) -> Settings:
    """Read the settings of a profile from all sources, with the precedence that the module docstring lists."""
    site = read_toml(SITE_FILE) if SITE_FILE.is_file() else {}
    usual = Settings().model_dump(mode="json")
    if changed := [name for name in site if _merge_tables(usual, {name: site[name]}) != usual]:
        _log_site_file(SITE_FILE.absolute(), ", ".join(changed))
    file = profile_file(profile)
    given: dict[str, Any] = {}
    try:
        environment = EnvSettingsSource(Settings)()
    except SourceError as error:
        raise SettingsError(f"{error}: write lists as JSON, as in HUBBLECLIP_TILES__VIEWS='[\"aim\"]'") from error
    # The setting `profile` is the name of the profile's file, so that two profiles never share an output folder.
    for layer in (environment, {"profile": file.stem}, *overrides):
        given = _merge_tables(given, layer)
    try:
        settings = Settings(**_merge_tables(_merge_tables(site, read_toml(file)), given))
    except ValidationError as error:
        # Only the first error is reported, because a message is one line.
        raise SettingsError(explain_error(error.errors()[0], Settings)) from error
    if settings.captions.base_url != given.get("captions", {}).get("base_url"):
        UNCONFIRMED.add(settings.captions.base_url)
    return settings


@cache
def _log_site_file(path: Path, names: str) -> None:
    log.info("%s changes %s", path, names)
