"""Settings of the ingest: archive query, downloads, and the simulated archive."""

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
    """The archive to query, and the observations to query for."""

    not_in_digest: ClassVar[frozenset[str]] = frozenset(
        {"mast_url", "proposals_url", "programs_url", "page_size", "overlap_days", "relist_days", "from_raw"}
        | {"use_ads", "ads_url", "check_first"}
    )
    added_later: ClassVar[frozenset[str]] = frozenset({"listing"})
    name: str = "hst"
    """Name of the archive in the registry: a mission such as `hst` or `jwst`, or `simulated`, or `local`."""
    mast_url: str = "https://mast.stsci.edu"
    """URL of the MAST server for observation queries, product queries and downloads."""
    listing: Literal["caom", "missions"] = "caom"
    """Service that lists observations and products: `caom` is MAST's CAOM query service, `missions` the search API of
    the mission (`astroquery.mast.MastMissions`), which lists the datasets of the calibration pipeline, but no Hubble
    Advanced Products.
    """
    proposals_url: str = ""
    """Page that links `abstracts.cat`, the bulk list of proposal abstracts; empty means the mission's own page, if it
    has one.
    """
    programs_url: str = "https://www.stsci.edu"
    """URL of the server of single-programme pages and APT files, used for proposals that the bulk list lacks."""
    collections: tuple[str, ...] = ("HST",)
    """MAST collections to query: `HST` includes the Hubble Advanced Products; `HLA` is the Hubble Legacy Archive.
    Collections of another mission than the archive's are ignored.
    """
    instruments: tuple[str, ...] = ("WFC3*", "ACS*", "WFPC2*")
    """Instruments to query; `*` matches any ending. Instruments of another mission than the archive's are ignored."""
    proposal_numbers: tuple[str, ...] = ()
    """Query only these proposals; empty means all."""
    calib_levels: tuple[int, ...] = (2, 3)
    """MAST calibration levels to query: 2 calibrated, 3 combined."""
    since: Day = Field("1990-04-24", min_length=1)
    """Query only observations released on or after this date (UTC, YYYY-MM-DD)."""
    until: Day = ""
    """Query only observations released on or before this date (UTC, YYYY-MM-DD); empty means up to now."""
    observed_from: Day = ""
    """Query only exposures that began on or after this date (UTC, YYYY-MM-DD); empty sets no limit."""
    observed_to: Day = ""
    """Query only exposures that began before this date (UTC, YYYY-MM-DD); empty sets no limit."""
    cycles: tuple[int, ...] = ()
    """Query only proposals of these observing cycles, which are looked up in the bulk list of proposals; empty means
    all.
    """
    targets: tuple[str, ...] = ()
    """Query only these target names, as the proposers wrote them; `*` matches any ending; empty means all."""
    cone_deg: tuple[RaDeg, DecDeg, RadiusDeg] | None = None
    """Query only observations centred in this circle: right ascension, declination and radius, all in degrees
    (ICRS).
    """
    min_exposure_s: float = Field(0.0, ge=0)
    """Query only exposures of at least this duration, in seconds."""
    intent: Literal["science", "calibration", "any"] = "science"
    """Which observations to query: science observations, calibrations, or both (`any`)."""
    products: Literal["science", "preview", "total_preview"] = "science"
    """Kind of files to fetch: `science` means calibrated FITS files; `preview` means JPEG previews of one filter each;
    `total_preview` means JPEG previews of all filters of a visit together, in grey and in colour (as in the paper).
    """
    page_size: int = Field(5000, ge=1, le=50000)
    """Maximum number of observations per request; a date window with more observations is split. MAST truncates
    responses at 50,000.
    """
    overlap_days: float = Field(7.0, ge=0)
    """Each run queries again the observations that were released in this number of days before the newest known release
    date, because some observations appear late.
    """
    relist_days: float = Field(30.0, ge=0)
    """Each product list is queried again once in this number of days, to detect reprocessed files; so is a proposal
    without an abstract. In the same time, the rows of each year of release are counted once, and queried again where
    the archive has other rows than the catalog. All of it is spread evenly over the nights. 0 means never.
    """
    from_raw: bool = False
    """Read the responses stored under `raw/` instead of querying the archive."""
    check_first: bool = True
    """Check a mission's archive before the first ingest of a profile, as `hubbleclip check-archive` does."""
    use_ads: bool = False
    """Query NASA ADS for abstracts that STScI lacks; the environment variable ADS_API_TOKEN holds the token."""
    ads_url: str = "https://api.adsabs.harvard.edu"
    """URL of the server of NASA ADS."""
    max_products_per_proposal: int = Field(20, ge=1)
    """Maximum number of files per proposal. Files that are in use already stay and count. Of the others, those of new
    pointings come first, then new bands of a pointing, then repeat visits; a hash draws among equals, so that every run
    makes the same choice. The archive `local` draws all files by the hash.
    """
    max_product_mb: int = Field(600, ge=1)
    """Maximum size of a file in MB; larger files are rejected."""
    folder: Path | None = None
    """For the archive `local`: the folder of FITS files."""
    proposals_file: Path | None = None
    """For the archive `local`: a JSON-lines file of proposals. If it is not set, `proposals.jsonl` in the folder is
    read; if that file does not exist, proposals are read from the FITS headers.
    """


class FetchSettings(Section):
    """How files are downloaded: connections, rate limit, retries and disk use."""

    added_later: ClassVar[frozenset[str]] = frozenset({"whole_files"})

    connections: int = Field(8, ge=1, le=64)
    """Maximum number of simultaneous downloads."""
    requests_per_s: float = Field(10.0, gt=0)
    """Rate limit over all connections; the default is acceptable to archive operators."""
    timeout_s: float = Field(60.0, gt=0)
    """Maximum wait for a connection or for the next bytes, in seconds."""
    attempts: int = Field(5, ge=1)
    """Number of attempts per request before the request counts as failed."""
    backoff_s: float = Field(0.5, ge=0)
    """Wait before the second attempt, in seconds; the wait doubles with each further attempt, with jitter."""
    file_timeout_s: float = Field(3600.0, gt=0)
    """Maximum time per file and attempt, in seconds."""
    stall_s: float = Field(60.0, gt=0)
    """A download that receives fewer than `stall_bytes` in this many seconds is aborted and resumed later."""
    stall_bytes: int = Field(60_000, ge=0)
    """Minimum number of bytes that a download must receive in `stall_s` seconds."""
    breaker_failures: int = Field(40, ge=1)
    """Number of consecutive failed requests, over all connections, after which the run stops because the archive seems
    to be down.
    """
    breaker_s: float = Field(60.0, ge=0)
    """Minimum time in seconds between the first and the last of the failures that `breaker_failures` counts, because a
    short outage may break all connections at once.
    """
    retry_hours: float = Field(6.0, ge=0)
    """Hours until a later run retries a failed item; the wait doubles with each failure."""
    max_runs: int = Field(8, ge=1)
    """Number of runs that try a failed item before it is rejected permanently."""
    min_free_gb: float = Field(1.0, ge=0)
    """Minimum free disk space in GB; downloads stop before it is reached."""
    files: bool = True
    """Fetch files; if false, only the metadata is updated."""
    keep_fits: bool = True
    """Keep fetched files. If false, each file is fetched, cut into tiles and deleted in one step, so that the disk
    holds at most `connections` files.
    """
    whole_files: bool = False
    """Download whole files. If false, extensions of FITS files that no stage reads, such as CTX and ERR, are not
    downloaded from servers that support ranges.
    """
    sources: tuple[Literal["mast", "s3"], ...] = Field(("mast",), min_length=1)
    """Download sources in order of preference; a file that one source lacks is requested from the next source."""
    s3_root: str = "s3://stpubdata/hst/public"
    """Public copy of the archive in the cloud, read without credentials."""
    s3_endpoint: str = ""
    """Address of another S3 server, such as http://127.0.0.1:9000; empty means Amazon's, over HTTPS."""
    redirect_hosts: tuple[str, ...] = ()
    """Further hosts to which the archive's servers may redirect; required for a host in a private network."""
    contact: str = Field("", max_length=200, pattern=r"^[ -'*-~]*$")
    """Your e-mail address or page, sent to the archive in the User-Agent header as a contact. ASCII, no parentheses."""


class SimulatorSettings(Section):
    """The simulated archive."""

    added_later: ClassVar[frozenset[str]] = frozenset({"mission"})

    mission: str = "hst"
    """Mission whose archive is simulated: `hst` or `jwst`; `archive.collections` must be of the same mission."""
    seed: int = 20240313
    """Seed of the simulated sky and its proposals."""
    num_proposals: int = Field(320, ge=1)
    """Number of proposals per night in the simulated archive."""
    frame_px: int = Field(560, ge=64, le=4096)
    """Nominal side of a simulated detector frame, in pixels."""
    observations_per_proposal: int = Field(0, ge=0, le=16)
    """Number of observations per proposal, for load tests; 0 means that a small number is drawn for each proposal, as
    in the demo. Hubble Advanced Products are not counted.
    """
    hap_share: float = Field(0.0, ge=0, le=1)
    """Share of visits that the archive also lists as Hubble Advanced Products (single-filter and total)."""
    reprocessed_share: float = Field(0.0, ge=0, le=1)
    """Share of the files of earlier nights that are replaced by a reprocessed version on each new night."""
    late_share: float = Field(0.0, ge=0, le=1)
    """Share of a night's observations that the archive lists one night after their release."""
    previews: bool = False
    """Also list previews of single exposures and a colour preview per visit; if false, list only previews of combined
    images.
    """
    nights: int = Field(1, ge=1)
    """Number of nights released so far; each night adds `num_proposals` proposals."""
    host: str = "127.0.0.1"
    """Network address of the server."""
    port: int = Field(0, ge=0, le=65535)
    """Port of the server; 0 chooses a free one."""
