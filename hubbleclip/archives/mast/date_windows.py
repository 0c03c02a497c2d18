"""Queries for many observations, split into windows of release dates so that no response is too large or too slow.

MAST runs each page of a long response as a query of its own, in no promised order: a page can repeat rows of another
and lack its own. A window whose rows fit into one page avoids that.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from hubbleclip.archives.mast.client import ResultPage, Row
from hubbleclip.core.errors import ArchiveTimeoutError, PartialResultError

MIN_DAYS = 1 / 86400
"""A window is not halved below one second: observations that were released together are paged."""
FULL_SHARE = 0.8
"""Halves expected to fill at most this share of a page are requested at once; fuller ones are counted first."""
MAX_ROUNDS = 5
"""How many times the pages of a dense window are requested until every row has come."""


@dataclass(frozen=True, slots=True)
class Window:
    """Release dates (MJD) from `low` to `high`, both included, as in MAST's own ranges."""

    low: float
    high: float

    @property
    def is_divisible(self) -> bool:
        """Whether it may be halved."""
        return self.high - self.low > MIN_DAYS

    def halves(self) -> tuple[Window, Window]:
        """Split the window in two.

        Returns
        -------
        tuple of Window
            Earlier and later half; they share no date and omit none.

        """
        middle = self.low + (self.high - self.low) / 2
        return Window(self.low, middle), Window(math.nextafter(middle, math.inf), self.high)


Count = Callable[[Window], int]
Request = Callable[[Window, int], ResultPage]
"""One page, counted from 1, of a window. No two of its rows have the same `obsid`."""


class Query:
    """One query over a span of release dates, run window by window.

    Parameters
    ----------
    count
        Counts the rows of a window.
    request
        Gives one page of a window.
    page_size
        Rows per page.

    """

    def __init__(self, count: Count, request: Request, page_size: int) -> None:
        self.count = count
        self.request = request
        self.page_size = page_size
        self.num_rows = 0

    def pages(self, whole: Window, promised: int | None = None) -> Iterator[list[Row]]:
        """Request every row once.

        Parameters
        ----------
        whole
            The span of dates.
        promised
            Number of its rows; None if it is not known: then the first response says it.

        Yields
        ------
        list of dict
            Rows, a page at a time as they come.

        Raises
        ------
        PartialResultError
            When the number of rows differs from the promised one. Errors of `count` and `request` pass through.

        """
        self.num_rows = 0
        todo: list[tuple[Window, int | None]] = [(whole, promised)]
        while todo:
            window, expected = todo.pop()
            if expected is not None and expected > self.page_size and window.is_divisible:
                todo += self._split(window, expected)
                continue
            if expected == 0:
                continue
            try:
                result = self.request(window, 1)
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
        if promised is not None and self.num_rows != promised:
            self._settle(whole, promised)

    def num_in(self, window: Window) -> int:
        """Count the rows of a window.

        Parameters
        ----------
        window
            Release dates.

        Returns
        -------
        int
            Rows; if the count takes too long, the sum over the halves.

        """
        try:
            return self.count(window)
        except ArchiveTimeoutError:
            if not window.is_divisible:
                raise
            return sum(self.num_in(half) for half in window.halves())

    def _split(self, window: Window, expected: int) -> list[tuple[Window, int | None]]:
        """The halves with the expected rows of each (None if not known), the later one first. One count serves both."""
        left, right = window.halves()
        if expected <= 2 * FULL_SHARE * self.page_size:
            return [(right, None), (left, None)]
        num_left = self.num_in(left)
        return [(right, expected - num_left if num_left <= expected else None), (left, num_left)]

    def _pages_of_dense(self, window: Window, result: ResultPage) -> Iterator[list[Row]]:
        """A window that cannot be halved: its pages are requested round by round until every row has come."""
        seen: set[str] = set()
        num_pages = math.ceil(result.total / self.page_size)
        for turn in range(MAX_ROUNDS * num_pages):
            rows = (result if turn == 0 else self.request(window, turn % num_pages + 1)).rows
            new = [row for row in rows if str(row.get("obsid")) not in seen]
            seen.update(str(row.get("obsid")) for row in new)
            if new:
                self.num_rows += len(new)
                yield new
            if len(seen) == result.total:
                return
        raise PartialResultError(
            f"{len(seen)} of {result.total} observations came from MJD {window.low}: run the same command again"
        )

    def _settle(self, whole: Window, promised: int) -> None:
        """Raise PartialResultError unless the archive has changed meanwhile and now counts the rows that came."""
        now = self.num_in(whole)
        if now != self.num_rows:
            raise PartialResultError(
                f"{self.num_rows} of {promised} observations came (now {now}): run the same command again"
            )


def spans(whole: Window, queries: Sequence[Query], max_rows: int) -> Iterator[tuple[Window, list[int]]]:
    """Split a window until its parts are small enough.

    Parameters
    ----------
    whole
        The window.
    queries
        Queries that all run over it.
    max_rows
        Rows of all queries together per part.

    Yields
    ------
    tuple of Window and list of int
        The parts in the order of their dates, and the number of rows of each query.

    """
    todo = [whole]
    while todo:
        window = todo.pop()
        counts = [query.num_in(window) for query in queries]
        if sum(counts) > max_rows and window.is_divisible:
            todo += reversed(window.halves())
        else:
            yield window, counts
