"""Split queries for many observations into windows of release dates, so that no response is too large or too slow.

MAST runs a separate query for each page of a long result, and does not guarantee the order of the rows. A page can
therefore repeat rows of another page, and other rows can be missing. A window whose rows fit into one page avoids this.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hubbleclip.archives.mast.caom_rows import CaomRow, plane_key
from hubbleclip.archives.mast.client import Criteria, MastClient, ResultPage
from hubbleclip.core.errors import ArchiveTimeoutError, PartialResultError

MIN_DAYS = 1 / 86400
"""Length (days) of the longest window that is not halved: one second. The window is requested page by page, because
its observations may all have the same release date.
"""
FULL_SHARE = 0.8
"""If the halves of a window fill on average at most this share of a page, they are requested without a count of their
rows. The rest of the page is a margin, because one half may have more rows than the other.
"""
TIMEOUTS_PER_WINDOW = 2
"""Number of timeouts after which a window is halved, because a smaller query may be fast enough."""
MAX_DENSE_PAGES = 1000
"""Largest number of pages of a window that cannot be halved. If the window has more pages, the query fails."""
MAX_ROUNDS = 5
"""Maximum number of requests for each page of a window that cannot be halved. A page is requested again only while
rows of the window are missing.
"""


@dataclass(frozen=True, slots=True)
class Window:
    """Range of release dates (MJD) from `low` to `high`. Both ends are included, as in the ranges of MAST's filters."""

    low: float
    high: float

    @property
    def is_divisible(self) -> bool:
        """Whether the window is long enough to be halved."""
        return self.high - self.low > MIN_DAYS

    def halves(self) -> tuple[Window, Window]:
        """Split the window in two halves that do not overlap."""
        middle = self.low + (self.high - self.low) / 2
        return Window(self.low, middle), Window(math.nextafter(middle, math.inf), self.high)


class WindowedQuery:
    """A query over a span of release dates, which is split into windows of at most `page_size` rows.

    The release dates of each window are added to `criteria`.
    """

    def __init__(self, client: MastClient, criteria: Criteria, page_size: int) -> None:
        self.client = client
        self.criteria = criteria
        self.page_size = page_size
        self.num_rows = 0

    def _within(self, window: Window) -> Criteria:
        """Return the criteria for the observations in a window."""
        return {**self.criteria, "t_obs_release": [window.low, window.high]}

    def _request(self, window: Window, page: int) -> ResultPage:
        """Request one page of a window; pages are counted from 1. `MastClient` rejects a page with repeated rows."""
        tries = TIMEOUTS_PER_WINDOW if window.is_divisible else 0
        return self.client.observations(self._within(window), page=page, page_size=self.page_size, tries=tries)

    def pages(self, whole: Window, promised: int | None = None) -> Iterator[list[CaomRow]]:
        """Yield the rows of the window `whole`, each row once. `promised` is the number of rows, if it is known.

        Raises PartialResultError if the number of rows that arrive differs from the archive's count.
        """
        self.num_rows = 0
        todo: list[tuple[Window, int | None]] = [(whole, promised)]
        # If far more rows arrive than were counted, the archive ignores the dates. A few more rows are normal, because
        # observations may have been released since the count.
        while todo and (promised is None or self.num_rows <= 2 * promised + self.page_size):
            window, expected = todo.pop()
            if expected is not None and expected > self.page_size and window.is_divisible:
                todo += self._split(window, expected)
                continue
            if expected == 0:
                continue
            try:
                result = self._request(window, 1)
            except (ArchiveTimeoutError, PartialResultError):
                if not window.is_divisible:
                    raise
                todo += [(half, None) for half in reversed(window.halves())]
                continue
            promised = result.total if window == whole and promised is None else promised
            if result.total > self.page_size and window.is_divisible:
                todo.append((window, result.total))
            elif result.total > self.page_size:
                yield from self._pages_of_dense(window, result)
            elif result.rows:
                self.num_rows += len(result.rows)
                yield result.rows
        # the archive may have changed since the query began, so the rows are counted again
        if promised not in {None, self.num_rows} and (now := self.num_in(whole)) != self.num_rows:
            words = f"{self.num_rows} of {promised} rows came, and the archive now counts {now}"
            raise PartialResultError(f"{words}: run the same command again")

    def num_in(self, window: Window) -> int:
        """Count the rows of a window."""
        try:
            return self.client.count(self._within(window))
        except ArchiveTimeoutError:
            if not window.is_divisible:
                raise
            return sum(self.num_in(half) for half in window.halves())

    def _split(self, window: Window, expected: int) -> list[tuple[Window, int | None]]:
        """Split a window that has `expected` rows; return each half, and its number of rows or None.

        The later half is first in the list, because the last item is processed first. The rows are not counted if each
        half probably fits into one page.
        """
        left, right = window.halves()
        if expected <= 2 * FULL_SHARE * self.page_size:
            return [(right, None), (left, None)]
        num_left = self.num_in(left)
        return [(right, expected - num_left if num_left <= expected else None), (left, num_left)]

    def _pages_of_dense(self, window: Window, result: ResultPage) -> Iterator[list[CaomRow]]:
        """Yield the rows of a window that cannot be halved. All pages are requested again until no row is missing."""
        seen: set[tuple[str, str]] = set()
        num_pages = math.ceil(result.total / self.page_size)
        if num_pages > MAX_DENSE_PAGES:
            raise PartialResultError(f"{result.total} rows have the release date MJD {window.low}, which is too many")
        for turn in range(MAX_ROUNDS * num_pages):
            rows = (result if turn == 0 else self._request(window, turn % num_pages + 1)).rows
            new = [row for row in rows if plane_key(row) not in seen]
            seen.update(map(plane_key, new))
            if new:
                self.num_rows += len(new)
                yield new
            if len(seen) == result.total:
                return
        words = f"{len(seen)} of {result.total} rows with the release date MJD {window.low} arrived"
        raise PartialResultError(f"{words}: run the same command again")


def spans(whole: Window, queries: Sequence[WindowedQuery], max_rows: int) -> Iterator[tuple[Window, list[int]]]:
    """Split a window into parts in which all queries together have at most `max_rows` rows, if possible.

    Yields each part, and its number of rows in each query.
    """
    todo = [whole]
    while todo:
        window = todo.pop()
        counts = [query.num_in(window) for query in queries]
        if sum(counts) > max_rows and window.is_divisible:
            todo += reversed(window.halves())
        else:
            yield window, counts
