"""Archive whose observations and files come from MAST, and whose proposals come from STScI.

The simulated archive has the same HTTP API, so this module is its client too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from itertools import chain

from hubbleclip.archives.base import STALE_NUMBER, ObservationPage, ProcessLocal, proposal_id_of
from hubbleclip.archives.http.client import RequestLimits, Transport
from hubbleclip.archives.mast.caom_rows import CaomRow, fold_rows, rows_by_day, rows_by_observation
from hubbleclip.archives.mast.client import MastClient
from hubbleclip.archives.mast.criteria import criteria_of, mjd_of, proposal_numbers, release_window, separation_deg
from hubbleclip.archives.mast.date_windows import Window, WindowedQuery, spans
from hubbleclip.archives.mast.missions_search import MissionsClient
from hubbleclip.archives.mast.product_selection import BYTES_PER_MB, rejection_reason, select_products
from hubbleclip.archives.mast.product_sources import FileSources
from hubbleclip.archives.mast.raw_responses import OBSERVATIONS, PRODUCTS, RawResponses
from hubbleclip.archives.stsci.client import ProposalSource
from hubbleclip.config.settings import ArchiveSettings, FetchSettings
from hubbleclip.core.layout import Layout
from hubbleclip.core.records import Observation, Product, Rejection, reject
from hubbleclip.missions import MISSIONS, Mission, mission_of_collections
from hubbleclip.missions.base import PRESS

LONG_DAYS = 5 * 365.0
"""Length (days) of the longest range of release dates that is requested without counting its rows first.

Hubble releases about ten pages of rows per year.
"""
PAGES_PER_SPAN = 10
"""Largest number of result pages in one span (range of release dates). A query that fails is repeated from the end of
the last complete span.
"""
OBSERVATIONS_PER_PAGE = 1000
"""Number of observations that are yielded at a time. It is limited, because the records of observations take more
memory than the rows of the response.
"""


LISTINGS: dict[str, Callable[[str, Transport, Mission], MastClient]] = {
    "caom": lambda url, transport, _: MastClient(url, transport),
    "missions": MissionsClient,
}
"""Constructor of the client that lists observations and products, by `archive.listing`."""


class MastArchive(ProcessLocal):
    """Implementation of the `Archive` protocol with the services of MAST and STScI. Threads may share one object."""

    is_local = False

    def __init__(
        self, settings: ArchiveSettings, fetch: FetchSettings, layout: Layout, limits: RequestLimits | None = None
    ) -> None:
        self.settings = settings
        self.name = settings.name
        self._reject = partial(reject, "observation", settings_digest=settings.digest())
        mission = MISSIONS.get(settings.name) or mission_of_collections(settings.collections)
        whole = replace(mission, products=replace(mission.products, read_shares={}))
        self.mission = whole if fetch.whole_files else mission
        self.layout = layout
        self.transport = Transport(fetch, limits)
        self.mast = self.open_client()
        self.raw = RawResponses(layout)
        self.proposals = ProposalSource(settings, self.transport, layout, self.mission)
        self.fetch_proposals = self.proposals.fetch
        self.files = FileSources(layout, self.mast, self.mission.bucket, settings.max_product_mb * BYTES_PER_MB)
        self.fetch_product = self.files.deliver

    def open_client(self) -> MastClient:
        """Make the client that lists observations and products."""
        return LISTINGS[self.settings.listing](self.settings.mast_url, self.transport, self.mission)

    def query_observations(self, since_mjd: float, until_mjd: float | None = None) -> Iterator[ObservationPage]:
        """See `Archive.query_observations`."""
        for rows in self.raw.pages() if self.settings.from_raw else self._requested_pages(since_mjd, until_mjd):
            groups = rows_by_observation(rows)
            for start in range(0, len(groups) or 1, OBSERVATIONS_PER_PAGE):
                yield self._page(groups[start : start + OBSERVATIONS_PER_PAGE])

    def count_rows(self, since_mjd: float, until_mjd: float) -> int:
        """See `Archive.count_rows`."""
        window = release_window(self.settings, since_mjd, until_mjd)
        return sum(query.num_in(window) for query in self._queries())

    def _requested_pages(self, since_mjd: float, until_mjd: float | None) -> Iterator[list[CaomRow]]:
        """Yield pages of rows from MAST, with an empty page after each complete span of dates."""
        settings = self.settings
        whole = release_window(settings, since_mjd, until_mjd)
        queries = self._queries()
        todo: Iterable[tuple[Window, Sequence[int | None]]] = [(whole, [None] * len(queries))]
        # In the first query of an archive, and in a query over a long range of dates, the rows are counted before they
        # are requested. Other queries need no count, because their first page gives the number of rows.
        is_first = until_mjd is None and since_mjd <= mjd_of(settings.since)
        if is_first or whole.high - whole.low > LONG_DAYS:
            todo = spans(whole, queries, PAGES_PER_SPAN * self.transport.limits.page_rows)
        for span, counts in todo:
            for query, count in zip(queries, counts, strict=True):
                for rows in query.pages(span, count):
                    self.raw.store(OBSERVATIONS, [row.get("obsid") for row in rows], rows)
                    yield rows
            yield []

    def _queries(self) -> list[WindowedQuery]:
        """Make the queries that together return all observations that the settings select."""
        settings = self.settings
        in_cycles = self.proposals.numbers_in_cycles(settings.cycles) if settings.cycles else []
        page_size = self.transport.limits.page_rows
        criteria_list = criteria_of(settings, self.mission, proposal_numbers(settings, in_cycles))
        return [WindowedQuery(self.mast, criteria, page_size) for criteria in criteria_list]

    def _page(self, groups: Sequence[Sequence[CaomRow]]) -> ObservationPage:
        """Convert rows, grouped by observation, to a page. Observations outside `archive.cone_deg` are dropped."""
        observations, rejections = [], []
        for rows in groups:
            found = self._observation(rows)
            if isinstance(found, Rejection):
                rejections.append(found)
            elif self.settings.cone_deg is None or _is_within(found, self.settings.cone_deg):
                observations.append(found)
        return ObservationPage(observations=observations, rejections=rejections, num_rows=rows_by_day(chain(*groups)))

    def _observation(self, rows: Sequence[CaomRow]) -> Observation | Rejection:
        """Make an observation from all its rows, or a rejection if it has no name or no proposal."""
        observation = fold_rows(rows, self.name, datetime.now(UTC), self.mission.products)
        if observation is not None and rows[0].get("obs_collection") == self.mission.press_collection:
            observation = replace(observation, instrument=PRESS)
        name, reason = f"obsid {rows[0].get('obsid')}", ("no_name", "the archive's row has no obs_id")
        if observation is not None and observation.proposal_id != proposal_id_of(self.name, None):
            return observation
        if observation is not None:
            name, reason = observation.obs_id, rejection_reason(observation, self.mission) or reason
        return self._reject(name, "observations", reason=reason[0], detail=reason[1])

    def list_products(
        self, observations: Sequence[Observation], taken: Mapping[str, frozenset[str]] | None = None
    ) -> tuple[list[Product], list[Rejection]]:
        """See `Archive.list_products`."""
        usable = [item for item in observations if rejection_reason(item, self.mission) is None]
        obsids = sorted({item.obsid for item in usable if item.obsid is not None})
        rows = self.raw.products(obsids) if self.settings.from_raw else self.mast.products_of(usable)
        if obsids and not self.settings.from_raw:
            self.raw.store(PRODUCTS, obsids, rows)
        stale = self._with_stale_number(usable, rows)
        incomplete = {item.proposal_id for item in stale}
        complete = [item for item in observations if item.proposal_id not in incomplete]
        products, rejections = select_products(complete, rows, self.settings, self.mission, taken or {})
        for item in stale:
            detail = f"the archive has no observation {item.obsid}: a later run queries its day of release"
            rejections.append(self._reject(item.obs_id, "products", reason=STALE_NUMBER, detail=detail))
        return products, rejections

    def _with_stale_number(self, observations: Sequence[Observation], rows: Sequence[CaomRow]) -> list[Observation]:
        """Find the observations that have no product row, and whose number (`obsid`) does not exist in the archive."""
        listed = {str(row.get(name)) for row in rows for name in ("parent_obsid", "obsID")}
        unlisted = {item.obsid for item in observations if item.obsid is not None and str(item.obsid) not in listed}
        if not unlisted or self.settings.from_raw:
            return []
        unknown = {str(obsid) for obsid in unlisted} - self.mast.known_numbers(sorted(unlisted))
        return [item for item in observations if str(item.obsid) in unknown]

    def renewed_files(self, products: Sequence[Product]) -> tuple[list[str], list[str]]:
        """See `Archive.renewed_files`."""
        renewed: list[str] = []
        unknown: list[str] = []
        for item in products:
            etag = self.files.etag_of(item) if item.etag and not self.settings.from_raw else ""
            if etag is None:
                unknown.append(item.uri)
            # the ETag is requested twice, because some servers send a new ETag in each response for an unchanged file
            elif etag not in {"", item.etag} and etag == self.files.etag_of(item):
                renewed.append(item.uri)
        return renewed, unknown


def _is_within(observation: Observation, cone_deg: tuple[float, float, float]) -> bool:
    """Check whether an observation's centre is in the circle `cone_deg` = (RA, Dec, radius), in degrees."""
    ra_deg, dec_deg, radius_deg = cone_deg
    if observation.ra_deg is None or observation.dec_deg is None:
        return False
    return separation_deg(ra_deg, dec_deg, observation.ra_deg, observation.dec_deg) <= radius_deg
