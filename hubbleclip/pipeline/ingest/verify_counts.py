"""Compare the archive's counts of rows with the rows that were received, and query again where they differ.

An archive adds rows to old days of release, withdraws rows and renumbers them. A query for what was released lately
does not see this. Each year of release is therefore counted once every `archive.relist_days` days, in a night of its
own. Where the count differs, the year is halved again and again until one request can return the rows of a part.
"""

from __future__ import annotations

import logging
import math
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import accumulate, pairwise
from typing import NamedTuple

from hubbleclip.archives import Archive
from hubbleclip.archives.http.client import LIMITS
from hubbleclip.archives.mast.criteria import mjd_of
from hubbleclip.core.errors import ArchiveDownError, ArchiveError
from hubbleclip.pipeline.engine.stage import Stage
from hubbleclip.pipeline.ingest.query_observations import ObservationWriter, date_of, has_counts, new_years

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
        """Divide the range at the first days of years."""
        starts = [self.first, *new_years(self.first + 1, self.end), self.end]
        yield from (Days(*pair) for pair in pairwise(starts))

    def halves(self, num_rows: Mapping[int, int | None]) -> tuple[Days, Days]:
        """Divide a range of at least two days into two parts with about the same number of rows."""
        until = list(accumulate(num_rows.get(day) or 0 for day in range(*self)))
        middle = self.first + 1 + bisect_left(until, until[-1] / 2)
        middle = middle if until[-1] else (self.first + self.end) // 2
        middle = min(middle, self.end - 1)
        return Days(self.first, middle), Days(middle, self.end)


def changed_parts(
    span: Days, num: int, known: Mapping[int, int | None], count: Callable[[Days], int], max_rows: int
) -> Iterator[Days]:
    """Find, by bisection, the parts of a range in which the archive's count of rows differs from the known count."""
    rows = [known.get(day, 0) for day in range(*span)]
    if None not in rows and num == sum(filter(None, rows)):
        return
    if num <= max_rows or span.end - span.first == 1:
        yield span
        return
    left, right = span.halves(known)
    num_left = min(count(left), num)  # only one part is counted; the other part has the rest of the rows
    yield from changed_parts(left, num_left, known, count, max_rows)
    yield from changed_parts(right, num - num_left, known, count, max_rows)


def forgotten_parts(span: Days, known: Mapping[int, int | None], max_rows: int) -> list[Days]:
    """Merge the days that must be queried again into ranges whose known rows fit one request (`max_rows`)."""
    parts: list[Days] = []
    for day in (day for day in range(*span) if known.get(day, 0) is None):
        if parts and sum(known.get(other) or 0 for other in range(parts[-1].first, day)) <= max_rows:
            parts[-1] = Days(parts[-1].first, day + 1)
        else:
            parts.append(Days(day, day + 1))
    return parts


def verify_counts(stage: Stage, archive: Archive, end_day: int) -> None:
    """Count the rows of each due year of release before `end_day` (MJD), and query again where the counts differ.

    A year that the archive cannot count or return is logged and counted again in the next run.
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
        try:
            parts: Iterable[Days] = forgotten_parts(span, known, LIMITS.page_rows)
            if year not in current:
                parts = changed_parts(span, count(span), known, count, LIMITS.page_rows)
            for part in parts:
                query_again(stage, archive, part)
            if year not in current:
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
