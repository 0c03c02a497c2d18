"""All settings, frozen and typed. A profile is one TOML of them.

Precedence, lowest first: the defaults below, `hubbleclip.toml`, the profile's TOML, the environment
(`HUBBLECLIP_TRAIN__STEPS=100`), the command line. Only `flows/` makes a `Settings`; the library takes sections of it.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from hubbleclip.config.base import Section
from hubbleclip.config.ingest import ArchiveSettings, FetchSettings, SimulatorSettings
from hubbleclip.config.model import EvaluationSettings, ModelSettings, TrainSettings
from hubbleclip.config.tiles import TileSettings
from hubbleclip.core.errors import SettingsError

__all__ = [
    "ArchiveSettings", "EvaluationSettings", "FetchSettings", "FlowSettings", "ModelSettings", "Section", "Settings",
    "ShardSettings", "SimulatorSettings", "SplitSettings", "TileSettings", "TrainSettings", "profile_file",
    "read_settings",
]  # fmt: skip

PROFILES_DIR = Path(__file__).parent / "profiles"
SITE_FILE = Path("hubbleclip.toml")


class SplitSettings(Section):
    """How tiles are split without a leak."""

    val_share: float = Field(0.05, gt=0, lt=0.5)
    """Share of proposal groups for validation."""
    test_share: float = Field(0.05, gt=0, lt=0.5)
    """Share of proposal groups for testing."""
    near_duplicate: float = Field(0.7, gt=0, le=1)
    """Proposals whose abstracts have at least this Jaccard similarity of word 5-grams stay together."""
    continuations: bool = True
    """Proposals that continue one another, by their titles or the programme numbers that they name, stay together."""
    field_share: float = Field(0.5, ge=0, le=1)
    """Proposals stay together that each have at least this share of their observations in the other's field; 0 lets
    the sky guard alone part them.
    """
    guard_arcsec: float = Field(1.0, ge=0)
    """No train tile comes nearer than this to a val or test tile."""
    salt: str = "hubbleclip-1"
    """Changes the draw of the splits; leave it alone to keep published splits."""
    scheme: str = "random"
    """How train and test differ: `random`, by proposal group; `instrument` or `cycle`, a test of generalisation, in a
    dataset of its own.
    """
    test_instruments: tuple[str, ...] = ()
    """With `scheme = "instrument"`: instruments of the test split; `*` stands for any ending."""
    test_from_cycle: int = Field(0, ge=0)
    """With `scheme = "cycle"`: the first cycle of the test split."""

    @model_validator(mode="after")
    def _asks_for_a_test(self) -> SplitSettings:
        """Refuse a scheme that would leave nothing, or all, to the test split."""
        if self.scheme == "instrument" and not self.test_instruments:
            raise ValueError('splits.scheme = "instrument" needs splits.test_instruments, such as ["WFPC2*"]')
        if self.scheme == "cycle" and not self.test_from_cycle:
            raise ValueError('splits.scheme = "cycle" needs splits.test_from_cycle, such as 28')
        return self


class ShardSettings(Section):
    """How samples are packed."""

    max_mb: int = Field(256, ge=1)
    """Largest size of a shard."""
    max_parents: int = Field(30, ge=0)
    """How many times in a row a dataset goes on with the shards of an older one, before all is packed anew; 0 packs
    every dataset whole.
    """
    caption_kinds: tuple[str, ...] = ("abstract", "title")
    """Captions that go into a sample, first the main one, by their names in the registry."""


class FlowSettings(Section):
    """How stages run."""

    batch_size: int = Field(64, ge=1)
    """Items a task; every finished batch is kept when the run is interrupted."""
    workers: int = Field(2, ge=1)
    """Tasks at a time in a stage."""
    runner: str = "threads"
    """Where files, shards and pictures are worked on: `threads` of the flow's process, `processes` of its machine, or a
    cluster, `dask` or `ray`.
    """
    dask_address: str = ""
    """Scheduler of a Dask cluster whose workers see the same data root; empty starts `workers` processes here."""
    ray_address: str = ""
    """As `dask_address`, for Ray: `auto` or `ray://host:10001`."""
    max_rejected_share: float = Field(1.0, gt=0, le=1)
    """A stage fails when a larger share of its items is rejected (1.0 = never)."""
    train_deployment: str = ""
    """Prefect deployment that trains, as `flow/deployment`; empty trains in this process."""
    train_min_new_samples: int = Field(200, ge=1)
    """Scheduled runs: training starts when the dataset has so many samples that the last trained one had not."""
    catalog_memory_mb: int = Field(1024, ge=128)
    """Most memory that DuckDB takes for the catalog while a flow writes it; larger questions go through the disk."""
    catalog_threads: int = Field(1, ge=1)
    """Threads of DuckDB while a flow writes the catalog; each further one holds some 20 MiB of its own."""
    lock_wait_s: float = Field(14400.0, ge=0)
    """Scheduled runs: longest wait for another writer of the catalog; a command says at once who writes."""
    archive_retries: int = Field(2, ge=0)
    """Scheduled runs: how often an ingest that failed is tried again, `archive_retry_s` later."""
    archive_retry_s: float = Field(600.0, ge=0)
    """See `archive_retries`."""
    zombie_s: float = Field(120.0, ge=45)
    """Scheduled runs: one that gives no sign of life for so long counts as crashed; they give one every 30 s."""
    timeout_h: float = Field(20.0, gt=0)
    """Scheduled runs: one that takes longer is cancelled; a training may take seven times as long."""


class Settings(BaseSettings):
    """The whole of them, by section."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_prefix="HUBBLECLIP_", env_nested_delimiter="__",
        use_attribute_docstrings=True,
    )  # fmt: skip

    profile: str = "demo"
    """Name of the profile; everything it writes stands under `data/<profile>/`."""
    data: Path = Path("data")
    """Root of everything that is written."""
    store: str = Field("", pattern=r"^([a-z0-9]+://.+)?$")
    """URL of a copy of products, tiles, datasets, runs, reports and the published catalog, `s3://bucket/prefix` or
    `file:///folder`, each profile in a folder of its own; other machines go on from there. Empty: no copy.
    """
    keep_local: bool = True
    """With a `store`: keep products and tiles on this disk as well."""
    archive: ArchiveSettings = ArchiveSettings()
    fetch: FetchSettings = FetchSettings()
    simulator: SimulatorSettings = SimulatorSettings()
    tiles: TileSettings = TileSettings()
    splits: SplitSettings = SplitSettings()
    shards: ShardSettings = ShardSettings()
    model: ModelSettings = ModelSettings()
    train: TrainSettings = TrainSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    flows: FlowSettings = FlowSettings()

    @classmethod
    def settings_customise_sources(  # type: ignore[override]
        cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource, **_: Any
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take what the constructor is given: `read_settings` lays the layers, the environment among them."""
        return (init_settings,)

    @property
    def root(self) -> Path:
        """The profile's own folder."""
        return self.data / self.profile


def profile_file(profile: str) -> Path:
    """Path of a profile's TOML: one that ships with the package, or a file of the user's."""
    path = Path(profile) if profile.endswith(".toml") else PROFILES_DIR / f"{profile}.toml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in PROFILES_DIR.glob("*.toml")))
        raise SettingsError(f"no profile {profile!r}: use one of {known}, or the path of a .toml file")
    return path


def read_toml(path: Path) -> dict[str, Any]:
    """Values of one settings file. Raises SettingsError when it is not TOML."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not valid TOML: {error}") from error


def merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`over` laid on `base`, table by table."""
    out = dict(base)
    for key, value in over.items():
        out[key] = merge(out[key], value) if isinstance(value, dict) and isinstance(out.get(key), dict) else value
    return out


def read_settings(profile: str, *overrides: dict[str, Any]) -> Settings:
    """Settings of a profile. Raises SettingsError that names the setting to change."""
    values = read_toml(SITE_FILE) if SITE_FILE.is_file() else {}
    file = profile_file(profile)
    for layer in (read_toml(file), EnvSettingsSource(Settings)(), {"profile": file.stem}, *overrides):
        values = merge(values, layer)
    try:
        return Settings(**values)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            raise SettingsError(f"there is no setting {name}: see hubbleclip.toml for all of them") from error
        raise SettingsError(f"setting {name}: {first['msg']} (got {first.get('input')!r})") from error
