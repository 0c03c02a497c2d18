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
        {"mast_url", "relist_days", "from_raw", "use_ads", "check_first"}
    )
    added_later: ClassVar[frozenset[str]] = frozenset({"listing"})
    name: str = "hst"
    """Name of the archive in the registry: `hst` or `jwst` at MAST; `cadc`, Hubble's files at the Canadian Astronomy
    Data Centre; `simulated`; or `local`.
    """
    mast_url: str = "https://mast.stsci.edu"
    """URL of the MAST server for observation queries, product queries and downloads. If its host is not in
    `stsci.edu`, three other kinds of requests are sent to this URL too: requests to STScI for the texts of proposals,
    requests for files of `fetch.s3_root`, and requests for tables of the archive `cadc`.
    """
    listing: Literal["caom", "missions"] = "caom"
    """Service that lists observations and products: `caom` is MAST's CAOM query service, `missions` is the search API
    of the mission (`astroquery.mast.MastMissions`), which lists the datasets of the calibration pipeline, but no Hubble
    Advanced Products.
    """
    collections: tuple[str, ...] = ("HST",)
    """MAST collections to query: `HST` includes the Hubble Advanced Products; `HLA` is the Hubble Legacy Archive;
    `OPO` has images of press releases, and is needed for captions of the kind `press`. Collections of other missions
    are ignored.
    """
    instruments: tuple[str, ...] = ("WFC3*", "ACS*", "WFPC2*")
    """Instruments to query; `*` matches any ending. Instruments of other missions are ignored."""
    proposal_numbers: tuple[str, ...] = ()
    """Query only these proposals; empty means all."""
    calib_levels: tuple[int, ...] = (2, 3)
    """MAST calibration levels to query: 2 calibrated, 3 combined."""
    since: Day = Field("1990-04-24", min_length=1)
    """Query only observations released on or after this date (UTC, YYYY-MM-DD)."""
    until: Day = ""
    """Query only observations released on or before this date (UTC, YYYY-MM-DD); empty means up to now."""
    observed_from: Day = ""
    """Query only exposures that began on or after this date (UTC, YYYY-MM-DD); an empty value means no limit."""
    observed_to: Day = ""
    """Query only exposures that began before this date (UTC, YYYY-MM-DD); an empty value means no limit."""
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
    relist_days: float = Field(30.0, ge=0)
    """Interval, in days, after which three kinds of queries are repeated. The first kind returns product lists, which
    show reprocessed files. The second kind returns proposals that had no abstract. The third kind returns the number of
    rows that the archive released in each year; if this number differs from the number in the catalog, the affected
    rows are queried again. The queries are distributed evenly over the nights of the interval. 0 means that nothing is
    repeated.
    """
    from_raw: bool = False
    """Read the responses stored under `raw/` instead of querying the archive."""
    check_first: bool = True
    """Before a profile's first ingest from `hst` or `jwst`, check the archive as `hubbleclip check-archive` does."""
    use_ads: bool = False
    """Query NASA ADS for abstracts that STScI lacks; the environment variable ADS_API_TOKEN holds the token."""
    max_products_per_proposal: int = Field(20, ge=1)
    """Maximum number of files per proposal. Files that are already in use are kept and count towards the maximum.
    Further files are chosen in this order: one filter of each pointing, then a second filter of each pointing, and so
    on; repeat visits with the same filter are last. A hash decides between files of equal rank, so that every run makes
    the same choice. In the archive `local`, the hash alone decides.
    """
    max_product_mb: int = Field(600, ge=1)
    """Maximum size of a file in MB; larger files are rejected. FITS extensions that no stage reads are not counted if
    they can be omitted from the download.
    """
    folder: Path | None = None
    """For the archive `local`: the folder of FITS files."""
    proposals_file: Path | None = None
    """For the archive `local`: a JSON-lines file of proposals, or a CSV file of pictures with captions. If it is not
    set, `proposals.jsonl` in the folder is read; if that file does not exist, proposals are read from the FITS headers.
    """


class FetchSettings(Section):
    """How files are downloaded: connections, rate limit, sources and disk use."""

    connections: int = Field(8, ge=1, le=64)
    """Maximum number of simultaneous downloads."""
    requests_per_s: float = Field(10.0, gt=0)
    """Maximum number of requests per second, over all connections; the default is acceptable to archive operators."""
    timeout_s: float = Field(60.0, gt=0)
    """Maximum wait for a connection or for the next bytes, in seconds."""
    retry_hours: float = Field(6.0, ge=0)
    """Wait, in hours, before a failed item is retried. The wait doubles with each failure of the item. After its eighth
    failure, the item is rejected.
    """
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
    redirect_hosts: tuple[str, ...] = ()
    """Further hosts to which the archive's servers may redirect; required for a host in a private network."""
    contact: str = Field("", max_length=200, pattern=r"^[ -'*-~]*$")
    """Your e-mail address or page, sent to the archive in the User-Agent header as a contact. ASCII, no parentheses."""


class SimulatorSettings(Section):
    """The simulated archive."""

    mission: str = "hst"
    """Mission whose archive is simulated: `hst` or `jwst`; `archive.collections` must be of the same mission."""
    num_proposals: int = Field(320, ge=1)
    """Number of proposals per night in the simulated archive."""
    frame_px: int = Field(560, ge=64, le=4096)
    """Nominal side of a simulated detector frame, in pixels."""
    reprocessed_share: float = Field(0.0, ge=0, le=1)
    """On each new night, this share of the files of earlier nights is replaced by reprocessed versions."""
    previews: bool = False
    """If true, also list previews of single exposures and one colour preview per visit. Previews of combined images
    are always listed.
    """
    nights: int = Field(1, ge=1)
    """Number of nights released so far; each night adds `num_proposals` proposals."""
    port: int = Field(0, ge=0, le=65535)
    """Port of the server; 0 chooses a free one."""
