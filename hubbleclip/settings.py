"""All settings, frozen and typed. A profile is one TOML of them.

Precedence, lowest first: the defaults below, `hubbleclip.toml`, the profile's TOML, the environment
(`HUBBLECLIP_TRAIN__STEPS=100`), the command line. Only `flows/` makes a `Settings`; the library takes sections of it.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from datetime import date
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from hubbleclip.errors import SettingsError

PROFILES_DIR = Path(__file__).parent / "profiles"
SITE_FILE = Path("hubbleclip.toml")
Day = Annotated[str, AfterValidator(lambda text: text and str(date.fromisoformat(text)))]
RaDeg = Annotated[float, Field(ge=0, le=360)]
DecDeg = Annotated[float, Field(ge=-90, le=90)]
RadiusDeg = Annotated[float, Field(gt=0, le=180)]


class Section(BaseModel):
    """A group of settings with a digest of its own, so that a stage knows which settings made a row."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
    not_in_digest: ClassVar[frozenset[str]] = frozenset()
    """Settings that change how an answer is got, never the answer."""

    def digest(self) -> str:
        """16 hex digits over the sorted JSON of the section; equal settings give equal digests on every machine."""
        text = json.dumps(self.model_dump(mode="json", exclude=set(self.not_in_digest)), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


class ArchiveSettings(Section):
    """What to ask of which archive."""

    not_in_digest: ClassVar[frozenset[str]] = frozenset(
        {"mast_url", "proposals_url", "programs_url", "page_size", "overlap_days", "relist_days", "from_raw"}
        | {"use_ads", "ads_url"}
    )
    name: str = "hst"
    """Which archive to ask, by its name in the registry: `hst`, `simulated` or `local`."""
    mast_url: str = "https://mast.stsci.edu"
    """Server of the observation and product queries and of the downloads."""
    proposals_url: str = "https://archive.stsci.edu/hst/proposal_abstracts.html"
    """Page that links `abstracts.cat`, the bulk list of proposal abstracts."""
    programs_url: str = "https://www.stsci.edu"
    """Server of the single-programme pages and APT files, asked for proposals that the bulk list lacks."""
    collections: tuple[str, ...] = ("HST",)
    """MAST's collections to ask for: `HST` has the Hubble Advanced Products too; `HLA` are the older Legacy ones."""
    instruments: tuple[str, ...] = ("WFC3*", "ACS*", "WFPC2*")
    """Instruments to ask for; `*` stands for any ending."""
    proposal_numbers: tuple[str, ...] = ()
    """Ask for these proposals only; empty means all."""
    calib_levels: tuple[int, ...] = (2, 3)
    """MAST calibration levels to ask for: 2 calibrated, 3 combined."""
    since: Day = Field("1990-04-24", min_length=1)
    """Ask for observations released on or after this date (UTC, YYYY-MM-DD)."""
    until: Day = ""
    """Ask for observations released on or before this date (UTC, YYYY-MM-DD); empty means up to now."""
    observed_from: Day = ""
    """Ask for exposures that began on or after this date (UTC, YYYY-MM-DD); empty sets no limit."""
    observed_to: Day = ""
    """Ask for exposures that began before this date (UTC, YYYY-MM-DD); empty sets no limit."""
    cycles: tuple[int, ...] = ()
    """Ask for proposals of these cycles only, as the bulk list of proposals names them; empty means all."""
    targets: tuple[str, ...] = ()
    """Ask for these target names only, as the proposers wrote them; `*` stands for any ending; empty means all."""
    cone_deg: tuple[RaDeg, DecDeg, RadiusDeg] | None = None
    """Ask for observations centred in this circle only: ra, dec, radius, all in degrees (ICRS)."""
    min_exposure_s: float = Field(0.0, ge=0)
    """Ask for exposures at least this long only."""
    intent: Literal["science", "calibration", "any"] = "science"
    """Ask for science observations, for calibrations, or for both."""
    products: Literal["science", "preview"] = "science"
    """Which file stands for a visit and filter: calibrated FITS, or the JPEG preview (as in the paper; colour ones are
    left out).
    """
    page_size: int = Field(5000, ge=1, le=50000)
    """Observations a request; a window with more of them is split. MAST cuts answers off at 50,000."""
    overlap_days: float = Field(7.0, ge=0)
    """A later run asks again for what was released in so many days before the newest known, since some appear late."""
    relist_days: float = Field(30.0, ge=0)
    """Product lists older than this are asked for again, so that a reprocessed file is seen; 0 never does."""
    from_raw: bool = False
    """Read the answers that landed under `raw/` instead of asking the archive."""
    use_ads: bool = False
    """Ask NASA ADS for abstracts that STScI lacks; the token stands in the environment as ADS_API_TOKEN."""
    ads_url: str = "https://api.adsabs.harvard.edu"
    """Server of NASA ADS."""
    max_products_per_proposal: int = Field(20, ge=1)
    """At most so many files a proposal, drawn by a stable hash without replacement."""
    max_product_mb: int = Field(600, ge=1)
    """Larger files are left out with a reason."""
    folder: Path | None = None
    """`local` only: the folder of FITS files."""
    proposals_file: Path | None = None
    """`local` only: a JSON-lines file of proposals; else `proposals.jsonl` in the folder, else the FITS headers."""


class FetchSettings(Section):
    """How to download, politely."""

    connections: int = Field(8, ge=1, le=64)
    """Downloads at a time."""
    requests_per_s: float = Field(10.0, gt=0)
    """Rate limit over all connections; the default is one that an archive's operator would accept."""
    timeout_s: float = Field(60.0, gt=0)
    """Longest wait for a connection or for the next bytes."""
    attempts: int = Field(5, ge=1)
    """Tries for one request before it counts as failed."""
    backoff_s: float = Field(0.5, ge=0)
    """First wait between tries; it doubles, with jitter."""
    file_timeout_s: float = Field(3600.0, gt=0)
    """Longest time for one file in one try."""
    stall_s: float = Field(60.0, gt=0)
    """A download that brings fewer than `stall_bytes` in this many seconds is given up and gone on with later."""
    stall_bytes: int = Field(60_000, ge=0)
    """See `stall_s`."""
    breaker_failures: int = Field(40, ge=1)
    """So many failed requests in a row, over all connections, stop the run: the archive is down."""
    retry_hours: float = Field(6.0, ge=0)
    """A later run tries a failed item again after this time, and doubles it with each failure."""
    max_runs: int = Field(8, ge=1)
    """A failed item is left out for good after so many runs that tried it."""
    min_free_gb: float = Field(1.0, ge=0)
    """Stop before less than this is free on the disk."""
    files: bool = True
    """Fetch files; without, only the metadata are brought up to date."""
    keep_fits: bool = True
    """Keep fetched files. Without, each is fetched, cut and dropped in one step, so the disk holds at most
    `connections` of them.
    """
    sources: tuple[Literal["mast", "s3"], ...] = Field(("mast",), min_length=1)
    """Where files come from, best first; one that a source lacks is asked of the next."""
    s3_root: str = "s3://stpubdata/hst/public"
    """Public copy of the archive in the cloud, read without credentials."""
    s3_endpoint: str = ""
    """Address of another S3 server; empty means Amazon's."""
    redirect_hosts: tuple[str, ...] = ()
    """Other hosts that the archive's servers may send us on to; a host in a private network must be named here."""
    contact: str = Field("", max_length=200, pattern=r"^[ -'*-~]*$")
    """Your e-mail address or page for the User-Agent header, so that the archive can reach you. ASCII, no brackets."""


class SimulatorSettings(Section):
    """The simulated archive."""

    seed: int = 20240313
    """Seed of the simulated sky and its proposals."""
    num_proposals: int = Field(320, ge=1)
    """Proposals in the simulated archive."""
    frame_px: int = Field(560, ge=64, le=4096)
    """Nominal side of a simulated detector frame."""
    observations_per_proposal: int = Field(0, ge=0, le=16)
    """Observations of each proposal, for load tests; 0 draws one to a few, as the demo has them. Hubble Advanced
    Products come on top.
    """
    hap_share: float = Field(0.0, ge=0, le=1)
    """Share of visits that the archive also lists as Hubble Advanced Products (single-filter and total)."""
    reprocessed_share: float = Field(0.0, ge=0, le=1)
    """Share of the files of earlier nights that each new night brings in another version."""
    late_share: float = Field(0.0, ge=0, le=1)
    """Share of a night's observations that appear only with the next night, though released before."""
    previews: bool = False
    """List more previews: of single exposures, and one in colour for each visit; else combined images have theirs."""
    nights: int = Field(1, ge=1)
    """How much of the archive is already released: each night adds `num_proposals` proposals."""
    host: str = "127.0.0.1"
    """Address to serve on."""
    port: int = Field(0, ge=0, le=65535)
    """Port to serve on; 0 picks a free one."""


class TileSettings(Section):
    """How an image becomes tiles."""

    recipe: Literal[2] = 2
    """Version of the way from FITS to pixels; a release that changes it gives its tiles new identities."""
    size_px: int = Field(512, ge=32, le=4096)
    """Side of a tile in pixels."""
    overlap_px: int = Field(0, ge=0)
    """Pixels that neighbouring tiles share at least."""
    stride_px: int = Field(0, ge=0)
    """Step of the grid in place of `size_px - overlap_px`; larger than `size_px` samples the field; 0 is not used."""
    views: tuple[Literal["native", "overview", "aim"], ...] = ("native", "overview")
    """Which tiles an image gives: `native`, the grid of its own pixels; `overview`, the whole field shrunk by area to
    one tile; `aim`, one tile of its own pixels centred on the aim point.
    """
    colour: bool = False
    """Also a colour tile of each visit with three filters or more, aligned on the sky."""
    format: Literal["png", "jpeg"] = "png"
    """How a tile is stored: PNG keeps every level, JPEG (quality 95) is smaller and loses some."""
    min_side_px: int = Field(64, ge=1)
    """An image whose shorter side is below this is rejected; between this and `size_px` it is padded with its sky
    level.
    """
    min_valid_share: float = Field(0.4, ge=0, le=1)
    """Least share of valid pixels of a tile."""
    min_signal_share: float = Field(0.0005, ge=0, le=1)
    """Least share of valid pixels above `signal_sigma`, after smoothing; below it the tile counts as empty."""
    signal_sigma: float = Field(5.0, gt=0)
    """A pixel this many noise sigmas above the sky counts as signal."""
    stretch: str = "asinh"
    """Stretch by its name in the registry."""
    softening_sigma: float = Field(3.0, gt=0)
    """asinh is linear below and logarithmic above this many noise sigmas."""
    black_sigma: float = Field(1.0, ge=0)
    """Black point: this many noise sigmas below the sky."""
    white_quantile: float = Field(0.9995, gt=0.5, le=1)
    """White point: this quantile of the valid pixels."""
    limits: Literal["image", "flux"] = "image"
    """Black and white of each image's own, or fixed ones in e-/s/arcsec2, so that tiles compare in brightness."""
    flux_black: float = -0.05
    """With `limits = "flux"`: black, above the sky, in e-/s/arcsec2."""
    flux_white: float = 500.0
    """With `limits = "flux"`: white, above the sky, in e-/s/arcsec2."""
    flux_softening: float = Field(0.5, gt=0)
    """With `limits = "flux"`: where asinh turns from linear to logarithmic, in e-/s/arcsec2."""
    max_pixels: int = Field(600_000_000, ge=1)
    """A header that claims more pixels in one image is refused before memory is taken."""


class SplitSettings(Section):
    """How tiles are split without a leak."""

    val_share: float = Field(0.05, gt=0, lt=0.5)
    """Share of proposal groups for validation."""
    test_share: float = Field(0.05, gt=0, lt=0.5)
    """Share of proposal groups for testing."""
    near_duplicate: float = Field(0.7, gt=0, le=1)
    """Proposals whose abstracts have at least this Jaccard similarity of word 5-grams stay together."""
    guard_arcsec: float = Field(1.0, ge=0)
    """No train tile comes nearer than this to a val or test tile."""
    salt: str = "hubbleclip-1"
    """Changes the draw of the splits; leave it alone to keep published splits."""


class ShardSettings(Section):
    """How samples are packed."""

    max_mb: int = Field(256, ge=1)
    """Largest size of a shard."""
    caption_kinds: tuple[str, ...] = ("abstract", "title")
    """Captions that go into a sample, first the main one, by their names in the registry."""


class ModelSettings(Section):
    """Which model to start from."""

    name: str = "ViT-B-16"
    """An open_clip model name, or `hubbleclip-tiny`, the demo's own."""
    pretrained: str = "openai"
    """An open_clip tag or a checkpoint file; empty means from scratch."""


class TrainSettings(Section):
    """How to train."""

    not_in_digest: ClassVar[frozenset[str]] = frozenset({"workers"})

    loss: str = "multi_positive"
    """Loss by its name in the registry: `info_nce`, `siglip` or `multi_positive`."""
    steps: int = Field(20_000, ge=1)
    """Optimizer steps."""
    batch_size: int = Field(128, ge=2)
    """Samples a step, over all processes."""
    learning_rate: float = Field(1e-5, gt=0)
    """Peak learning rate of AdamW."""
    warmup_steps: int = Field(2000, ge=0)
    """Steps of linear warm-up; a cosine decay to zero follows."""
    weight_decay: float = Field(1e-3, ge=0)
    """Decoupled weight decay, on matrices only."""
    grad_clip: float = Field(1.0, gt=0)
    """Largest gradient norm."""
    temperature: float = Field(0.07, gt=0)
    """Start of the softmax temperature for a model from scratch: logit_scale = log(1 / temperature)."""
    precision: Literal["fp32", "bf16"] = "bf16"
    """Arithmetic of the forward pass: full, or bfloat16 autocast."""
    min_crop_share: float = Field(0.35, gt=0, le=1)
    """Random crops keep at least this share of a tile's area."""
    full_abstract_share: float = Field(0.2, ge=0, le=1)
    """How often the caption is the whole text (cut at the model's context) instead of random sentences."""
    other_caption_share: float = Field(0.1, ge=0, le=1)
    """How often the caption is another one of the proposal, such as its title."""
    gain_jitter: float = Field(0.2, ge=0, le=2)
    """Brightness is multiplied by a random factor between exp(-gain_jitter) and exp(gain_jitter)."""
    workers: int = Field(4, ge=0)
    """Loader processes; 0 loads in the training process."""
    seed: int = 1
    """Seed of weights, order, crops and captions."""
    shuffled: bool = False
    """Give every tile the caption of another proposal group: a baseline that must learn nothing."""
    log_every: int = Field(20, ge=1)
    """Steps between metric rows."""
    validate_every: int = Field(1000, ge=1)
    """Steps between validations."""
    checkpoint_every: int = Field(1000, ge=1)
    """Steps between checkpoints."""
    keep_checkpoints: int = Field(2, ge=1)
    """Newest checkpoints kept, besides the best one."""


class EvaluationSettings(Section):
    """How to evaluate."""

    batch_size: int = Field(256, ge=1)
    """Items an embedding batch."""
    bootstrap: int = Field(2000, ge=100)
    """Resamples of proposals for the 95 % intervals."""
    seed: int = 7
    """Seed of the bootstrap and of the random baseline."""
    shuffled_steps: int = Field(0, ge=0)
    """Steps of the shuffled-pairs training that stands beside the model; 0 leaves that baseline out."""
    num_example_tiles: int = Field(6, ge=1)
    """Test tiles shown with their nearest phrases."""


class FlowSettings(Section):
    """How stages run."""

    batch_size: int = Field(64, ge=1)
    """Items a task; every finished batch is kept when the run is interrupted."""
    workers: int = Field(2, ge=1)
    """Tasks at a time in a stage."""
    max_rejected_share: float = Field(1.0, gt=0, le=1)
    """A stage fails when a larger share of its items is rejected (1.0 = never)."""
    train_deployment: str = ""
    """Prefect deployment that trains, as `flow/deployment`; empty trains in this process."""


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
