"""Asking for many observations by windows of release dates, so that no answer is too large or too slow.

Pages of one long answer are queries of their own at MAST, in no promised order: a page can repeat rows of another and
lack its own. A window that fits into one page has no such trouble.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from hubbleclip.archives.mast.client import Answer, Row
from hubbleclip.core.errors import ArchiveTimeoutError, PartialResultError

MIN_DAYS = 1 / 86400
"""A window is not halved below one second: what was released in one go is paged."""
FULL_SHARE = 0.8
"""Halves that are expected to fill so much of a page at most are asked for at once; fuller ones are counted first."""
MAX_ROUNDS = 5
"""So often the pages of a dense window are gone through until every row has come."""


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
        """Two windows that have no date in common and leave none out."""
        middle = self.low + (self.high - self.low) / 2
        return Window(self.low, middle), Window(math.nextafter(middle, math.inf), self.high)


Count = Callable[[Window], int]
Ask = Callable[[Window, int], Answer]
"""One page, from 1, of a window. Each of its rows has an `obsid` of its own."""


class Query:
    """One question over a span of release dates, asked by windows. `ask` gives pages of `page_size` rows."""

    def __init__(self, count: Count, ask: Ask, page_size: int) -> None:
        self.count = count
        self.ask = ask
        self.page_size = page_size
        self.num_rows = 0

    def pages(self, whole: Window, promised: int | None = None) -> Iterator[list[Row]]:
        """Every row once, a page as soon as it has come, of `promised` rows; where that is None the first answer tells.

        Raises PartialResultError when the pages do not sum up to the promise, and what `count` and `ask` raise.
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
                answer = self.ask(window, 1)
            except (ArchiveTimeoutError, PartialResultError):
                if not window.is_divisible:
                    raise
                todo += [(half, None) for half in reversed(window.halves())]
                continue
            promised = answer.total if window == whole and promised is None else promised
            if answer.total > self.page_size and window.is_divisible:
                todo.append((window, answer.total))
            elif answer.total > self.page_size:
                yield from self._pages_of_dense(window, answer)
            elif answer.rows:
                self.num_rows += len(answer.rows)
                yield answer.rows
        if promised is not None and self.num_rows != promised:
            self._settle(whole, promised)

    def num_in(self, window: Window) -> int:
        """A count; one that takes too long is made of the counts of the halves."""
        try:
            return self.count(window)
        except ArchiveTimeoutError:
            if not window.is_divisible:
                raise
            return sum(self.num_in(half) for half in window.halves())

    def _split(self, window: Window, expected: int) -> list[tuple[Window, int | None]]:
        """Its halves with what is expected of each, the later one first. One count serves both."""
        left, right = window.halves()
        if expected <= 2 * FULL_SHARE * self.page_size:
            return [(right, None), (left, None)]
        num_left = self.num_in(left)
        return [(right, expected - num_left if num_left <= expected else None), (left, num_left)]

    def _pages_of_dense(self, window: Window, answer: Answer) -> Iterator[list[Row]]:
        """What cannot be halved, page by page and round by round until as many rows came as there are."""
        seen: set[str] = set()
        num_pages = math.ceil(answer.total / self.page_size)
        for turn in range(MAX_ROUNDS * num_pages):
            rows = (answer if turn == 0 else self.ask(window, turn % num_pages + 1)).rows
            new = [row for row in rows if str(row.get("obsid")) not in seen]
            seen.update(str(row.get("obsid")) for row in new)
            if new:
                self.num_rows += len(new)
                yield new
            if len(seen) == answer.total:
                return
        raise PartialResultError(f"{len(seen)} of {answer.total} observations came from MJD {window.low}: run it again")

    def _settle(self, whole: Window, promised: int) -> None:
        """Raise PartialResultError unless the archive itself has changed meanwhile and counts now what came."""
        now = self.num_in(whole)
        if now != self.num_rows:
            raise PartialResultError(
                f"{self.num_rows} of {promised} observations came (now {now}): run the same command again"
            )


def spans(whole: Window, queries: Sequence[Query], most_rows: int) -> Iterator[tuple[Window, list[int]]]:
    """Windows in the order of their dates, halved until they hold `most_rows` at most, and the rows of each query."""
    todo = [whole]
    while todo:
        window = todo.pop()
        counts = [query.num_in(window) for query in queries]
        if sum(counts) > most_rows and window.is_divisible:
            todo += reversed(window.halves())
        else:
            yield window, counts
