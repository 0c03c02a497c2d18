"""Asking by windows against a server in memory that is slow, lies, repeats and drops rows, as real ones do."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hubbleclip.archives.mast.caom_rows import CaomRow
from hubbleclip.archives.mast.client import Criteria, ResultPage
from hubbleclip.archives.mast.date_windows import MIN_DAYS, TIMEOUTS_PER_WINDOW, Window, WindowedQuery, spans
from hubbleclip.core.errors import ArchiveTimeoutError, PartialResultError

SPAN = Window(48000.0, 61000.0)


@dataclass
class Server:
    """Observations by their release dates. `slow_rows`: a longer answer times out; `is_shuffling`: no order of pages."""

    dates: list[float]
    page_size: int = 10
    slow_rows: int = 10**9
    lie: int = 0
    lost: int | None = None
    is_shuffling: bool = False
    counts: list[Window] = field(default_factory=list)
    asked: list[tuple[Window, int]] = field(default_factory=list)

    def rows(self, window: Window) -> list[CaomRow]:
        return [
            {"obsid": i} for i, date in enumerate(self.dates) if window.low <= date <= window.high and i != self.lost
        ]

    def count(self, criteria: Criteria) -> int:
        window = Window(*criteria["t_obs_release"])
        self.counts.append(window)
        found = self.rows(window)
        if len(found) > 2 * self.slow_rows and window.is_divisible:
            raise ArchiveTimeoutError("too many to count")
        return len(found) + self.lie

    def observations(self, criteria: Criteria, *, page: int, page_size: int, tries: int) -> ResultPage:
        window = Window(*criteria["t_obs_release"])
        assert (page_size, tries) == (self.page_size, TIMEOUTS_PER_WINDOW if window.is_divisible else 0)
        self.asked.append((window, page))
        found = self.rows(window)
        if len(found) > self.slow_rows and window.is_divisible:
            raise ArchiveTimeoutError("too many")
        if self.is_shuffling:
            random.Random(len(self.asked)).shuffle(found)
        return ResultPage(rows=found[(page - 1) * self.page_size : page * self.page_size], total=len(found))

    def query(self) -> WindowedQuery:
        return WindowedQuery(self, {}, self.page_size)

    def all_rows(self, *, is_wide: bool = True) -> list[int]:
        query = self.query()
        pages = query.pages(SPAN, query.num_in(SPAN) if is_wide else None)
        return [row["obsid"] for page in pages for row in page]


dates = st.lists(
    st.floats(SPAN.low, SPAN.high) | st.sampled_from([50000.0, 50000.5, SPAN.low, SPAN.high]), max_size=120
)


@given(dates, st.integers(1, 20), st.sampled_from([3, 15, 10**9]), st.booleans())
@example([60000.0 + i for i in range(30)], 5, 15, False)  # the first half has no rows
def test_every_row_comes_once_whatever_the_dates(found: list[float], page_size: int, slow: int, is_wide: bool) -> None:
    server = Server(found, page_size=page_size, slow_rows=slow)
    assert sorted(server.all_rows(is_wide=is_wide)) == list(range(len(found)))


@given(dates, dates, st.integers(1, 30))
def test_spans_follow_each_other_and_hold_no_more_rows_than_set(one: list[float], two: list[float], most: int) -> None:
    servers = Server(one), Server(two)
    found = list(spans(SPAN, [server.query() for server in servers], most))
    edges = [edge for span, _ in found for edge in (span.low, span.high)]
    assert (edges[0], edges[-1]) == (SPAN.low, SPAN.high)
    assert edges == sorted(edges)
    for span, counts in found:
        assert counts == [len(server.rows(span)) for server in servers]
        assert sum(counts) <= most or not span.is_divisible
    assert [sum(counts) for counts in zip(*(counts for _, counts in found), strict=True)] == [len(one), len(two)]


@given(st.floats(0, 1e5), st.floats(MIN_DAYS * 2, 1e5), st.floats(0, 1))
def test_the_halves_of_a_window_share_no_date_and_leave_none_out(low: float, width: float, share: float) -> None:
    window = Window(low, low + width)
    date = window.low + (window.high - window.low) * share
    assert sum(half.low <= min(date, window.high) <= half.high for half in window.halves()) == 1


def test_a_window_that_always_times_out_ends_at_the_least_width() -> None:
    server, windows = Server([50000.0] * 20), []

    def never(criteria: Criteria, **_: object) -> ResultPage:
        windows.append(criteria)
        raise ArchiveTimeoutError("slow")

    server.observations = never
    with pytest.raises(ArchiveTimeoutError, match="slow"):
        list(server.query().pages(SPAN))
    assert len(windows) < 50


@pytest.mark.parametrize("lie", [-3, -1, 1, 4])
def test_a_count_that_lies_is_an_error_after_every_row_has_come(lie: int) -> None:
    with pytest.raises(PartialResultError, match="run the same command again"):
        Server([50000.0 + i for i in range(45)], lie=lie).all_rows()


@pytest.mark.parametrize(("page_size", "change"), [(100, 1), (10, -20)])
def test_a_count_that_has_changed_since_is_no_error(page_size: int, change: int) -> None:
    server = Server([50000.0 + i for i in range(45)], page_size=page_size)
    first = server.count

    def other_at_first(criteria: Criteria) -> int:
        return first(criteria) + change * (len(server.counts) == 1)

    server.count = other_at_first
    query = server.query()
    assert sum(len(page) for page in query.pages(SPAN, query.num_in(SPAN))) == 45


@pytest.mark.parametrize("is_shuffling", [False, True])
def test_a_window_too_dense_to_halve_is_paged_until_every_row_has_come_once(is_shuffling: bool) -> None:
    server = Server([50000.0] * 27 + [50001.0], is_shuffling=is_shuffling)
    found = server.all_rows()
    assert sorted(found) == list(range(28))


def test_a_dense_window_whose_pages_repeat_for_ever_is_an_error() -> None:
    server = Server([50000.0] * 27)
    ask = server.observations
    server.observations = lambda criteria, **more: ask(criteria, **more | {"page": 1})
    with pytest.raises(PartialResultError, match="10 of 27"):
        list(server.query().pages(SPAN, 27))
    server.observations = lambda *_, **__: ResultPage(rows=[{}], total=10_001)
    with pytest.raises(PartialResultError, match="10001 rows .* too many"):
        list(server.query().pages(Window(5e4, 5e4)))


def test_pages_come_before_the_next_window_is_asked_for() -> None:
    server = Server([SPAN.low + 10 * i for i in range(100)])
    pages = server.query().pages(SPAN, 100)
    next(pages)
    num_asked = len([window for window, _ in server.asked if server.rows(window)])
    next(pages)
    assert len([window for window, _ in server.asked if server.rows(window)]) == num_asked + 1
