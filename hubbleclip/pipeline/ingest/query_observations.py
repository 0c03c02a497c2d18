"""Query new and changed observations, and write them to the catalog.

When all rows of a day of release have been received, the number of rows is recorded. Then observations of this day that
the archive no longer lists are marked as withdrawn.

An archive also adds, withdraws and renumbers rows of old days of release. A query for recent releases does not return
these changes. Therefore the rows of each year of release are counted once every `archive.relist_days` days; different
years are counted in different nights. If the count differs from the recorded number, the year is divided by bisection
into parts, until one request can return all rows of a part.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime
from itertools import chain, pairwise
from typing import NamedTuple

from hubbleclip.archives import Archive
from hubbleclip.archives.base import ObservationPage
from hubbleclip.archives.http.client import LIMITS
from hubbleclip.archives.mast.criteria import MJD_ZERO, mjd_now, mjd_of
from hubbleclip.contracts.validation import reject_broken_rows
from hubbleclip.core.errors import ArchiveDownError, ArchiveError
from hubbleclip.core.records import DayCount, Watermark
from hubbleclip.pipeline.engine.progress import LOG_EVERY_S
from hubbleclip.pipeline.engine.stage import Stage, log

OVERLAP_DAYS = 7.0
"""Number of days of release that a query repeats, because the archive lists some observations late."""


def query_observations(stage: Stage, archive: Archive) -> int:
    """Query the observations that were released since the watermark; returns the first day (MJD) of the query.

    The watermark is the release date up to which all observations are in the catalog. It is raised only after these
    observations have been written, so that an interrupted query resumes at the watermark. When stored responses are
    read (`archive.from_raw`), all of them are read, and the watermark is not changed.
    """
    settings = stage.settings.archive
    sql = "SELECT released_mjd FROM watermark WHERE archive = ? AND query_digest = ?"
    known = [row["released_mjd"] for row in stage.catalog.rows(sql, [archive.name, settings.digest()])]
    first_mjd = mjd_of(settings.since)
    since_mjd = first_mjd if settings.from_raw else max([first_mjd, *(mark - OVERLAP_DAYS for mark in known)])
    # Whole days are queried, because the rows of each day are counted.
    first_day, end_day = math.floor(since_mjd), math.floor(mjd_now()) + 1
    writer, is_counted = ObservationWriter(stage, archive.name, first_day), has_counts(stage, archive)
    for page in chain(archive.query_observations(first_day), [ObservationPage()]):
        if not page.is_checkpoint:
            writer.write(page)
        elif not settings.from_raw:
            received_mjd = max(first_mjd, writer.newest_mjd)  # may be before the watermark, because of the overlap
            newest_mjd = max([received_mjd, *known])
            if is_counted:
                writer.complete(math.floor(received_mjd))
            if known != [newest_mjd]:
                mark = Watermark(**writer.query, released_mjd=newest_mjd, updated_at=datetime.now(UTC))
                stage.catalog.upsert({"watermark": [mark]})
                known = [newest_mjd]
    if is_counted:
        writer.complete(end_day)
    log.info("ingest: %d observations since MJD %d, %d new or changed", writer.num, first_day, writer.num_new)
    return first_day


def has_counts(stage: Stage, archive: Archive) -> bool:
    """Return whether rows are counted by day of release; rows of local files and stored responses are not counted."""
    return not (stage.settings.archive.from_raw or archive.is_local)


class ObservationWriter:
    """Writes the pages of a query over a range of days of release (MJD).

    When all rows of a day have been received, the number of rows is recorded. Observations of that day that an earlier
    query returned, but this query did not, are marked as withdrawn.
    """

    def __init__(self, stage: Stage, archive: str, first_day: int) -> None:
        self.stage = stage
        self.query = {"archive": archive, "query_digest": stage.settings.archive.digest()}
        self.first_day = first_day
        self.newest_mjd = -math.inf
        self.num = self.num_new = 0
        self._num_rows: Counter[int] = Counter()
        self._day_by_obs_id: dict[str, int] = {}
        self._logged = time.monotonic()

    def write(self, page: ObservationPage) -> None:
        """Write the new and changed observations of a page, and the new and changed rejections."""
        catalog, digest = self.stage.catalog, self.query["query_digest"]
        own = [replace(item, query_digest=digest) for item in page]
        batch = reject_broken_rows({"observation": own}, "observations", "observation", digest)
        valid, rejections = batch["observation"], [*batch.get("rejection", ()), *page.rejections]
        changed = {
            "observation": catalog.changed_rows("observation", valid),
            "rejection": catalog.changed_rows("rejection", rejections),
        }
        if any(map(len, changed.values())):
            names = changed["observation"]["obs_id"].to_pylist()
            with catalog.transaction():
                catalog.run("clear_failures", entity="observation", stage="observations", ids=names)
                catalog.upsert(changed)
        dates = {item.obs_id: item.released_mjd for item in valid if item.released_mjd is not None}
        self.newest_mjd = max([self.newest_mjd, *dates.values()])
        self._day_by_obs_id |= {obs_id: math.floor(mjd) for obs_id, mjd in dates.items()}
        self._num_rows.update(page.num_rows)
        self.num, self.num_new = self.num + len(valid), self.num_new + len(changed["observation"])
        if time.monotonic() - self._logged > LOG_EVERY_S and dates:
            self._logged = time.monotonic()
            until = date_of(math.floor(max(dates.values())))
            log.info(
                "ingest: %d observations so far, %d new or changed, at release date %s", self.num, self.num_new, until
            )

    def complete(self, end_day: int) -> None:
        """Record that all rows of the days before `end_day` have been received."""
        if end_day <= self.first_day:
            return
        catalog, now = self.stage.catalog, datetime.now(UTC)
        span = self.query | {"first": self.first_day, "end": end_day}
        known = {row["day_mjd"]: row["num_rows"] for row in catalog.named_query("known_days", **span)}
        since_day = math.floor(mjd_of(self.stage.settings.archive.since))
        days = {since_day, *new_years(self.first_day, end_day), *known, *self._num_rows}
        new = [
            DayCount(**self.query, day_mjd=day, num_rows=self._num_rows[day], counted_at=now)
            for day in sorted(days)
            if self.first_day <= day < end_day and known.get(day, -1) != self._num_rows[day]
        ]
        missing = catalog.named_query("missing_observations", **span, seen=list(self._day_by_obs_id))
        if new or missing:
            with catalog.transaction():
                catalog.upsert({"day_count": new})
                if missing:
                    catalog.run("withdraw", ids=[row["obs_id"] for row in missing], now=now)
        self.first_day = end_day
        self._num_rows = Counter({day: num for day, num in self._num_rows.items() if day >= end_day})
        self._day_by_obs_id = {name: day for name, day in self._day_by_obs_id.items() if day >= end_day}


def new_years(first_day: int, end_day: int) -> Iterator[int]:
    """List the first day of each year in a range of days."""
    years = range(date_of(first_day - 1).year + 1, date_of(end_day - 1).year + 1)
    yield from (day_of(date(year, 1, 1)) for year in years)


def day_of(day: date) -> int:
    """Convert a date to MJD."""
    return (day - MJD_ZERO).days


def date_of(day_mjd: int) -> date:
    """Convert an MJD to a date."""
    return date.fromordinal(MJD_ZERO.toordinal() + day_mjd)


class Days(NamedTuple):
    """Range of days of release (MJD) from `first` to the day before `end`."""

    first: int
    end: int

    @property
    def last_mjd(self) -> float:
        """Latest date (MJD) in the range."""
        return math.nextafter(self.end, 0)

    def years(self) -> Iterator[Days]:
        """Divide the range at the first days of years."""
        starts = [self.first, *new_years(self.first + 1, self.end), self.end]
        yield from (Days(*pair) for pair in pairwise(starts))

    def halves(self) -> tuple[Days, Days]:
        """Divide a range of at least two days into halves."""
        middle = (self.first + self.end) // 2
        return Days(self.first, middle), Days(middle, self.end)


def changed_parts(
    span: Days, num: int, known: Mapping[int, int | None], count: Callable[[Days], int], max_rows: int
) -> Iterator[Days]:
    """Find, by bisection, the parts of a range in which the archive's number of rows differs from the known number."""
    rows = [known.get(day, 0) for day in range(*span)]
    if None not in rows and num == sum(filter(None, rows)):
        return
    if num <= max_rows or span.end - span.first == 1:
        yield span
        return
    left, right = span.halves()
    num_left = min(count(left), num)  # only one half is counted; the other half has the remaining rows
    yield from changed_parts(left, num_left, known, count, max_rows)
    yield from changed_parts(right, num - num_left, known, count, max_rows)


def verify_counts(stage: Stage, archive: Archive, end_day: int) -> None:
    """Count the archive's rows of each year of release before `end_day` (MJD), and query changed parts of a year again.

    A year is counted when its count is due. In other years, only the range of days whose recorded numbers of rows were
    deleted is counted. If the archive fails to count or return rows, a warning is logged, and the next run counts the
    year again.
    """
    settings, now = stage.settings.archive, datetime.now(UTC)
    query = {"archive": archive.name, "query_digest": settings.digest()}
    days = Days(math.floor(mjd_of(settings.since)), end_day)
    if not (has_counts(stage, archive) and settings.relist_days) or days.end <= days.first:
        return
    rows = stage.catalog.named_query("known_days", **query, first=days.first, end=days.end)
    known = {row["day_mjd"]: row["num_rows"] for row in rows}
    counted = stage.catalog.named_query("current_years", **query, end=days.end, days=settings.relist_days, now=now)
    current = {row["year"] for row in counted}

    def count(span: Days) -> int:
        return archive.count_rows(span.first, span.last_mjd)

    for span in days.years():
        year = date_of(span.first).year
        forgotten = [day for day in range(*span) if known.get(day, 0) is None]
        if year in current and not forgotten:
            continue
        due = Days(forgotten[0], forgotten[-1] + 1) if year in current else span
        try:
            for part in changed_parts(due, count(due), known, count, LIMITS.page_rows):
                query_again(stage, archive, part)
            if due == span:
                stage.catalog.run("mark_counted", None, **query, first=span.first, now=now)
        except ArchiveDownError:
            raise
        except ArchiveError as error:
            log.warning("ingest: releases of %d are counted again in the next run (%s)", year, error)


def query_again(stage: Stage, archive: Archive, span: Days) -> None:
    """Query all rows of a range again."""
    writer = ObservationWriter(stage, archive.name, span.first)
    for page in archive.query_observations(span.first, span.last_mjd):
        writer.write(page)
    writer.complete(span.end)
    log.info("ingest: MJD %d to %d queried again, %d observations are new or changed", *span, writer.num_new)
