"""The Hubble archive: observations and files from MAST, proposals from STScI. The simulated archive speaks the same."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime

from hubbleclip.archives.base import Delivery, Known, now_utc
from hubbleclip.archives.http.client import Transport
from hubbleclip.archives.mast.caom_rows import observation_from_row
from hubbleclip.archives.mast.client import Answer, Criteria, MastClient, Row
from hubbleclip.archives.mast.criteria import criteria_of, mjd_of, release_window, separation_deg, wanted_numbers
from hubbleclip.archives.mast.date_windows import Query, Window, spans
from hubbleclip.archives.mast.product_selection import BYTES_PER_MB, choose, refusal_of
from hubbleclip.archives.mast.product_sources import FileSources
from hubbleclip.archives.mast.raw_answers import OBSERVATIONS, PRODUCTS, RawAnswers
from hubbleclip.archives.stsci.client import ProposalSource
from hubbleclip.config.settings import ArchiveSettings, FetchSettings
from hubbleclip.core.layout import Layout
from hubbleclip.core.process_local import ProcessLocal
from hubbleclip.core.records import Observation, Product, Proposal, Rejection

MJD_OF_UNIX_EPOCH = 40587.0
SECONDS_A_DAY = 86400.0
WIDE_DAYS = 5 * 365.0
"""What was released over a longer time is counted before it is asked for; Hubble brings about ten pages a year."""
PAGES_A_SPAN = 10
"""A span holds at most the rows of so many pages. A query that failed asks for one again, and for its overlap."""
ROWS_A_PAGE = 1000
"""So many observations are given at a time: what is made of them takes more memory than the answer itself."""
TIMEOUTS_A_WINDOW = 2
"""A window that times out so often is halved: a smaller question may be answered."""


class HstArchive(ProcessLocal):
    """MAST and STScI behind the Archive protocol. Threads may share one object."""

    is_local = False

    def __init__(self, settings: ArchiveSettings, fetch: FetchSettings, layout: Layout) -> None:
        self.settings = settings
        self.layout = layout
        self.transport = Transport(fetch)
        self.mast = MastClient(settings.mast_url, self.transport)
        self.raw = RawAnswers(layout)
        self.proposals = ProposalSource(settings, self.transport, layout)
        max_bytes = settings.max_product_mb * BYTES_PER_MB
        self.files = FileSources(fetch, layout, self.transport, self.mast, max_bytes)

    @property
    def name(self) -> str:
        """`hst` or `simulated`, as the settings say."""
        return self.settings.name

    def query_observations(self, since_mjd: float) -> Iterator[list[Observation]]:
        """Pages of what was released since, landed before they are given; see Archive.query_observations."""
        for rows in self.raw.pages() if self.settings.from_raw else self._asked_pages(since_mjd):
            for start in range(0, len(rows) or 1, ROWS_A_PAGE):
                page = list(self._observations(rows[start : start + ROWS_A_PAGE]))
                if page or not rows:
                    yield page

    def _asked_pages(self, since_mjd: float) -> Iterator[list[Row]]:
        """Rows from MAST, and no rows behind each span of dates that is whole.

        A first query, and one over a long time, is counted before it is asked; of others the first answer tells.
        """
        settings = self.settings
        now_mjd = datetime.now(UTC).timestamp() / SECONDS_A_DAY + MJD_OF_UNIX_EPOCH
        whole = release_window(settings, since_mjd, now_mjd)
        cycles = self.proposals.numbers_in_cycles(settings.cycles) if settings.cycles else []
        queries = [self._query(criteria) for criteria in criteria_of(settings, wanted_numbers(settings, cycles))]
        asked: Iterable[tuple[Window, Sequence[int | None]]] = [(whole, [None] * len(queries))]
        if since_mjd <= mjd_of(settings.since) or whole.high - whole.low > WIDE_DAYS:
            asked = spans(whole, queries, PAGES_A_SPAN * settings.page_size)
        for span, promised in asked:
            for query, num in zip(queries, promised, strict=True):
                for rows in query.pages(span, num):
                    self.raw.land(OBSERVATIONS, [row.get("obsid") for row in rows], rows)
                    yield rows
            yield []

    def _query(self, criteria: Criteria) -> Query:
        """The question of these criteria, to be asked by windows of release dates."""
        page_size = self.settings.page_size

        def within(window: Window) -> Criteria:
            return {**criteria, "t_obs_release": [window.low, window.high]}

        def ask(window: Window, page: int) -> Answer:
            tries = TIMEOUTS_A_WINDOW if window.is_divisible else 0
            return self.mast.observations(within(window), page=page, page_size=page_size, tries=tries)

        return Query(lambda window: self.mast.count(within(window)), ask, page_size)

    def _observations(self, rows: Iterable[Row]) -> Iterator[Observation]:
        """Records of the rows that have a name and lie in the circle, if the settings draw one."""
        fetched_at, cone = now_utc(), self.settings.cone_deg
        for row in rows:
            found = observation_from_row(row, self.name, fetched_at)
            if found is not None and (cone is None or _is_within(found, cone)):
                yield found

    def list_products(
        self, observations: Sequence[Observation], taken: Mapping[str, frozenset[str]] | None = None
    ) -> tuple[list[Product], list[Rejection]]:
        """One file a visit and filter; see Archive.list_products and `choose`. Raises ArchiveError."""
        usable = (item for item in observations if refusal_of(item) is None)
        obsids = sorted({item.obsid for item in usable if item.obsid is not None})
        rows = self.raw.products(obsids) if self.settings.from_raw else self._asked_products(obsids)
        return choose(observations, rows, self.settings, taken or {})

    def _asked_products(self, obsids: Sequence[int]) -> list[Row]:
        rows = self.mast.products(obsids)
        if obsids:
            self.raw.land(PRODUCTS, obsids, rows)
        return rows

    def fetch_proposals(self, numbers: Sequence[str]) -> tuple[list[Proposal], list[Rejection]]:
        """Proposals from the bulk list, else one by one; see Archive.fetch_proposals. Raises ArchiveError."""
        return self.proposals.fetch(numbers)

    def set_file_lookup(self, known: Known) -> None:
        """See Archive.set_file_lookup."""
        self.files.known = known

    def fetch_product(self, product: Product) -> Product:
        """The product on disk, checked; see Archive.fetch_product. Raises DownloadError, ArchiveDownError."""
        return self.files.fetch(product)

    def deliver_product(self, product: Product) -> Delivery:
        """The product on disk or in memory; see Archive.deliver_product. Raises DownloadError, ArchiveDownError."""
        return self.files.deliver(product)


def _is_within(observation: Observation, cone_deg: tuple[float, float, float]) -> bool:
    ra_deg, dec_deg, radius_deg = cone_deg
    if observation.ra_deg is None or observation.dec_deg is None:
        return False
    return separation_deg(ra_deg, dec_deg, observation.ra_deg, observation.dec_deg) <= radius_deg
