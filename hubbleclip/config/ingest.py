"""Settings of the way from an archive to files: what to ask, how to fetch, what the simulated archive holds."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field

from hubbleclip.config.base import Section

Day = Annotated[str, AfterValidator(lambda text: text and str(date.fromisoformat(text)))]
RaDeg = Annotated[float, Field(ge=0, le=360)]
DecDeg = Annotated[float, Field(ge=-90, le=90)]
RadiusDeg = Annotated[float, Field(gt=0, le=180)]


class ArchiveSettings(Section):
    """What to ask of which archive."""

    not_in_digest: ClassVar[frozenset[str]] = frozenset(
        {"mast_url", "proposals_url", "programs_url", "page_size", "overlap_days", "relist_days", "from_raw"}
        | {"use_ads", "ads_url"}
    )
    name: str = "hst"
    """Which archive to ask, by its name in the registry: a mission such as `hst` or `jwst`, `simulated` or `local`."""
    mast_url: str = "https://mast.stsci.edu"
    """Server of the observation and product queries and of the downloads."""
    proposals_url: str = ""
    """Page that links `abstracts.cat`, the bulk list of proposal abstracts; empty means the mission's own page, if it
    has one.
    """
    programs_url: str = "https://www.stsci.edu"
    """Server of the single-programme pages and APT files, asked for proposals that the bulk list lacks."""
    collections: tuple[str, ...] = ("HST",)
    """MAST's collections to ask for: `HST` has the Hubble Advanced Products too, `HLA` are the older Legacy ones. Those
    of another mission than the archive's are ignored.
    """
    instruments: tuple[str, ...] = ("WFC3*", "ACS*", "WFPC2*")
    """Instruments to ask for; `*` stands for any ending. Those of another mission than the archive's are ignored."""
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
    """Product lists older than this are asked for again, so that a reprocessed file is seen, and proposals that had no
    abstract; 0 never does.
    """
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
    breaker_s: float = Field(60.0, ge=0)
    """A row of failures stops the run only if it lasts so long: one moment may fail all connections."""
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
    """Address of another S3 server, such as http://127.0.0.1:9000; empty means Amazon's, over HTTPS."""
    redirect_hosts: tuple[str, ...] = ()
    """Other hosts that the archive's servers may send us on to; a host in a private network must be named here."""
    contact: str = Field("", max_length=200, pattern=r"^[ -'*-~]*$")
    """Your e-mail address or page for the User-Agent header, so that the archive can reach you. ASCII, no brackets."""


class SimulatorSettings(Section):
    """The simulated archive."""

    added_later: ClassVar[frozenset[str]] = frozenset({"mission"})

    mission: str = "hst"
    """Mission whose archive is simulated: `hst` or `jwst`; `archive.collections` must be of the same mission."""
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
