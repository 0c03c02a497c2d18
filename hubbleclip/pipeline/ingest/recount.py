"""Compare the archive's counts of rows with the rows that were received, and query again where they differ.

An archive adds rows to old days of release, withdraws rows and renumbers them. A query for what was released lately
does not see this. Each year of release is therefore counted once in `archive.relist_days`, in a night of its own.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime
from itertools import pairwise
from typing import NamedTuple

from hubbleclip.archives import Archive
from hubbleclip.core.errors import ArchiveDownError, ArchiveError
from hubbleclip.pipeline.engine.stage import Stage
from hubbleclip.pipeline.ingest.receive import Reception, date_of, day_of, new_years

log = logging.getLogger("hubbleclip.pipeline")


class Days(NamedTuple):
    """Range of days of release (MJD) from `first` to the day before `end`."""

    first: int
    end: int

    @property
    def last_mjd(self) -> float:
        """Latest date (MJD) in the range."""
        return math.nextafter(self.end, 0)

    def years(self) -> Iterator[Days]:
        """Divide the range at the first days of years.

        Yields
        ------
        Days
            The part of each year.

        """
        yield from self._divided(new_years(self.first + 1, self.end))

    def months(self) -> Iterator[Days]:
        """Divide a range within one year at the first days of months.

        Yields
        ------
        Days
            The part of each month.

        """
        start, last = date_of(self.first), date_of(self.end - 1)
        later = range(start.month + 1, last.month + 1)
        yield from self._divided(day_of(date(start.year, month, 1)) for month in later)

    def days(self) -> Iterator[Days]:
        """Divide the range into days.

        Yields
        ------
        Days
            Each day.

        """
        yield from (Days(day, day + 1) for day in range(self.first, self.end))

    def parts(self) -> list[Days]:
        """Divide a range within one year into months, and a range within one month into days.

        Returns
        -------
        list of Days
            The parts; empty for a single day.

        """
        months = list(self.months())
        return months if len(months) > 1 else list(self.days()) if self.end - self.first > 1 else []

    def _divided(self, starts: Iterator[int]) -> Iterator[Days]:
        """Divide the range at the given days, which are in order."""
        yield from (Days(*pair) for pair in pairwise([self.first, *starts, self.end]))


def changed_parts(
    span: Days, num: int, known: Mapping[int, int], count: Callable[[Days], int], max_rows: int
) -> Iterator[Days]:
    """Find the parts of a range whose rows the archive counts differently.

    Parameters
    ----------
    span
        Range of days within one year.
    num
        Number of rows in the range, as counted by the archive.
    known
        Number of rows that were received, by day.
    count
        Function that asks the archive for the number of rows in a range.
    max_rows
        A part with at most this number of rows is not divided further, because a query of all its rows costs less than
        the counts of its parts.

    Yields
    ------
    Days
        Parts to query again, in order.

    """
    if num == sum(known.get(day, 0) for day in range(*span)):
        return
    parts = span.parts() if num > max_rows else []
    for part in parts:
        # The last rows of the range are not counted: their number follows from the other numbers.
        num_part = num if num == 0 or part == parts[-1] else min(count(part), num)
        num -= num_part
        yield from changed_parts(part, num_part, known, count, max_rows)
    if not parts:
        yield span


def recount(stage: Stage, archive: Archive, days: Days) -> int:
    """Count the rows of the years that are due, and query the days again of which the archive has other rows.

    A year that the archive cannot count or return is logged and counted again in the next run.

    Parameters
    ----------
    stage
        The running stage, whose catalog is open for writing.
    archive
        Client of the archive.
    days
        All days of release that the query covers, and that this run has not queried yet.

    Returns
    -------
    int
        Number of new and changed observations.

    """
    settings, now, num_new = stage.settings.archive, datetime.now(UTC), 0
    query = {"archive": archive.name, "query_digest": settings.digest()}
    if not settings.relist_days or days.end <= days.first:
        return 0
    rows = stage.catalog.named_query("known_days", **query, first=days.first, end=days.end)
    known = {row["day_mjd"]: row["num_rows"] for row in rows}
    counted = stage.catalog.named_query("current_years", **query, end=days.end, days=settings.relist_days, now=now)
    current = {row["year"] for row in counted}

    def count(span: Days) -> int:
        return archive.count_rows(span.first, span.last_mjd)

    for year in days.years():
        forgotten = [day for day in year.days() if known.get(day.first, 0) is None]
        try:
            for part in forgotten:
                num_new += receive_again(stage, archive, part, known)
            if date_of(year.first).year not in current:
                for part in changed_parts(year, count(year), known, count, settings.page_size):
                    num_new += receive_again(stage, archive, part, known)
                stage.catalog.run("mark_counted", None, **query, first=year.first, now=now)
        except ArchiveDownError:
            raise
        except ArchiveError as error:
            log.warning(
                "ingest: releases of %d are counted again in the next run (%s)", date_of(year.first).year, error
            )
    return num_new


def receive_again(stage: Stage, archive: Archive, span: Days, known: dict[int, int]) -> int:
    """Query all rows of a range again.

    Parameters
    ----------
    stage
        The running stage, whose catalog is open for writing.
    archive
        Client of the archive.
    span
        Days to query.
    known
        Numbers of rows by day, in which the new numbers are set.

    Returns
    -------
    int
        Number of new and changed observations.

    """
    reception = Reception(stage, archive.name, span.first)
    for page in archive.query_observations(span.first, span.last_mjd):
        reception.write(page)
    known |= dict.fromkeys(range(*span), 0) | reception.num_rows
    reception.complete(span.end)
    log.info("ingest: MJD %d to %d queried again, %d observations are new or changed", *span, reception.num_new)
    return reception.num_new
