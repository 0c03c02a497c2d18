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
"""Values of `captions.base_url` from settings files. The user must confirm each before a key is sent to it."""
log = logging.getLogger(__name__)
FIELD_SHARE = 0.5
"""Two proposals are in one split if at least this share of each one's observations is near those of the other."""
MAX_PARENTS = 30
"""Maximum number of consecutive datasets that reuse older shards; the next dataset packs all samples again."""


class SplitSettings(Section):
    """How tiles are split into train, val and test without leakage."""

    added_later: ClassVar[frozenset[str]] = frozenset({"max_tiles_per_proposal", "max_tiles_per_patch"})
    # the two rules that link proposals
    fixed: ClassVar[Mapping[str, Any]] = {"continuations": True, "field_share": FIELD_SHARE}
    val_share: float = Field(0.05, gt=0, lt=0.5)
    """Share of proposal groups for validation."""
    test_share: float = Field(0.05, gt=0, lt=0.5)
    """Share of proposal groups for testing."""
    near_duplicate: float = Field(0.7, gt=0, le=1)
    """Two proposals are in one split if their abstracts share at least this part of their word 5-grams: of all 5-grams
    in either abstract (Jaccard similarity), or of the 5-grams in the shorter abstract (containment).
    """
    guard_arcsec: float = Field(1.0, ge=0)
    """Tiles of the train split are excluded if their distance from a val or test tile on the sky, in arcseconds, is at
    most this value.
    """
    max_tiles_per_proposal: int = Field(0, ge=0)
    """Maximum number of tiles of a proposal in all splits together; 0 means no limit. Tiles already in a split stay and
    are counted. New tiles are taken in turn from each file; a hash decides the order of the tiles of a file.
    """
    max_tiles_per_patch: int = Field(0, ge=0)
    """Maximum number of tiles of a sky patch of 3.4 arcminutes, whatever their proposals; 0 means no limit. Both limits
    apply to each new tile. A tile without a position is in no patch.
    """
    salt: str = "hubbleclip-1"
    """Salt of the hash that draws the splits; a change invalidates published splits."""
    scheme: str = "random"
    """How test tiles are chosen. `random` chooses the tiles of random groups of proposals. `instrument` and `cycle`
    choose all tiles of some instruments or cycles; the train split has no tiles of these, so the test measures
    generalisation. `benchmark` chooses the programmes of the frozen benchmark. Each scheme has its own dataset.
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
    """Kinds of captions of a sample, by their names in the registry, with the main caption first. Kinds of the stage
    `captions` are `summary`, `phrases` and `objects`; `summary@WRITER` selects one of several writers. `press` is the
    title of a press image (`archive.collections` with `OPO`).
    """


class FlowSettings(Section):
    """How stages run, and when scheduled runs start, retry and end."""

    batch_size: int = Field(64, ge=1)
    """Items per task; an interrupted run keeps every finished batch."""
    workers: int = Field(2, ge=1)
    """Maximum number of simultaneous tasks in a stage."""
    runner: str = "threads"
    """Where files, shards and images are processed: `threads` of the flow's process, `processes` on its machine, or a
    cluster, `dask` or `ray`.
    """
    dask_address: str = ""
    """Scheduler of a Dask cluster whose workers share the data root, such as `tcp://host:8786`; or the class of a
    cluster to start, such as `dask_jobqueue.SLURMCluster`, whose jobs Dask's own configuration describes. Empty starts
    `workers` local processes.
    """
    ray_address: str = ""
    """Address of a Ray cluster, `auto` or `ray://host:10001`; empty starts local processes."""
    max_rejected_share: float = Field(1.0, gt=0, le=1)
    """Maximum share of rejected items in a stage; a stage with a larger share fails. 1.0 means never."""
    train_deployment: str = ""
    """Prefect deployment that runs the training, in the form `flow/deployment`; empty means that the current process
    trains.
    """
    train_min_new_samples: int = Field(200, ge=1)
    """Scheduled runs: a training starts if the newest dataset has at least this number of samples that the last
    training did not have.
    """
    catalog_memory_mb: int = Field(1024, ge=128)
    """Memory limit of DuckDB in MiB while a flow writes the catalog; larger queries spill to disk."""
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
    """Name of the profile, whose output is all below `data/<profile>/`."""
    data: Path = Path("data")
    """Root folder of all output."""
    store: str = Field("", pattern=r"^([a-z0-9]+://.+)?$")
    """URL of a remote store, `s3://bucket/prefix` or `file:///folder`, for copies of products, tiles, datasets, runs,
    reports and the published catalog. Each profile has its own folder there, and another machine can continue from
    these copies. Empty means no remote store.
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
        """Refuse caption kinds that no stage writes, a main caption that the proposers have not written, and colour
        tiles if each file is deleted before the other files of its visit are fetched.
        """
        written = [kind for kind in self.shards.caption_kinds if kind.partition("@")[0] in WRITTEN_KINDS]
        if written and self.shards.caption_kinds[0] == written[0]:
            raise ValueError(f"shards.caption_kinds: the main caption cannot be {written[0]!r}: put 'abstract' first")
        own = [kind for kind in written if "@" not in kind]
        if own and not self.captions.backend:
            raise ValueError(f"shards.caption_kinds has {own[0]!r}: set captions.backend, such as 'rules'")
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
    """Read the settings of a profile, with all layers merged in the precedence that the module docstring lists."""
    site = read_toml(SITE_FILE) if SITE_FILE.is_file() else {}
    usual = Settings().model_dump(mode="json")
    if changed := [name for name in site if _merge_tables(usual, {name: site[name]}) != usual]:
        _log_site_file(SITE_FILE.absolute(), ", ".join(changed))
    file = profile_file(profile)
    # The profile is named after its file, so that two profiles never share an output folder.
    given: dict[str, Any] = {}
    try:
        environment = EnvSettingsSource(Settings)()
    except SourceError as error:
        raise SettingsError(f"{error}: write lists as JSON, as in HUBBLECLIP_TILES__VIEWS='[\"aim\"]'") from error
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
