"""What an archive changes in old days of release is found by its counts, at the price of few requests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
import time_machine
from hypothesis import given
from hypothesis import strategies as st
from stages import fetched, listing, observation, stage_at

from hubbleclip.archives.base import ObservationPage
from hubbleclip.core.errors import PartialResultError
from hubbleclip.core.records import Observation
from hubbleclip.pipeline.engine.stage import Stage
from hubbleclip.pipeline.ingest.query_observations import Days, changed_parts, day_of
from hubbleclip.pipeline.ingest.run import update_observations

START = datetime(2024, 3, 1, 12, tzinfo=UTC)
YEAR_2020 = Days(day_of(date(2020, 1, 1)), day_of(date(2021, 1, 1)))


class Dated:
    """An archive of observations by name, which counts and returns those of a range of release dates."""

    name = "hst"
    is_local = False

    def __init__(self, **mjd_by_name: float) -> None:
        self.rows = {name: released(name, mjd) for name, mjd in mjd_by_name.items()}
        self.counted: list[Days] = []
        self.asked: list[tuple[float, float]] = []
        self.is_failing = False

    def within(self, since_mjd: float, until_mjd: float | None) -> list[Observation]:
        return [item for item in self.rows.values() if since_mjd <= item.released_mjd <= (until_mjd or 1e6)]

    def query_observations(self, since_mjd: float, until_mjd: float | None = None) -> Iterator[ObservationPage]:
        if until_mjd is not None and self.is_failing:
            raise PartialResultError("a row is missing")
        self.asked.append((since_mjd, until_mjd or 0))
        found = self.within(since_mjd, until_mjd)
        if found:
            yield ObservationPage(observations=found, num_rows=Counter(int(item.released_mjd) for item in found))

    def count_rows(self, since_mjd: float, until_mjd: float) -> int:
        self.counted.append(Days(int(since_mjd), int(until_mjd) + 1))
        return len(self.within(since_mjd, until_mjd))


def released(name: str, mjd: float) -> Observation:
    return replace(observation(name, proposal=f"hst:{name}"), released_mjd=mjd)


def nights(stage: Stage, archive: Dated, num: int, first: int = 0) -> None:
    """Query the archive in each of these nights."""
    for night in range(first, first + num):
        with time_machine.travel(START + timedelta(days=night)):
            update_observations(stage, archive)


def names(stage: Stage) -> list[str]:
    sql = "SELECT obs_id FROM observation WHERE withdrawn_at IS NULL ORDER BY obs_id"
    return [row["obs_id"] for row in stage.catalog.rows(sql)]


OFTEN = {"archive": {"relist_days": 5, "since": "2015-01-01"}}


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with stage_at(tmp_path, OFTEN) as stage:
        yield stage


def test_each_year_is_counted_once_in_the_days_between_counts_and_not_all_in_one_night(tmp_path: Path) -> None:
    archive = Dated(a=58000.5, new=60360.0)
    with stage_at(tmp_path, {"archive": {"relist_days": 10, "since": "2015-01-01"}}) as stage:
        nights(stage, archive, 1)
        assert archive.counted == []
        per_night = []
        for night in range(1, 21):
            before = len(archive.counted)
            nights(stage, archive, 1, first=night)
            per_night.append(len(archive.counted) - before)
    assert sum(per_night) == 2 * 10
    assert max(per_night) <= 4
    assert Counter(archive.counted[:10]).most_common(1)[0][1] == 1
    assert len([days for days in archive.asked if days[1]]) == 0


def test_days_that_leave_the_overlap_make_no_year_due(tmp_path: Path) -> None:
    with stage_at(tmp_path, {"archive": {"relist_days": 5, "since": "2024-01-01"}}) as stage:
        archive = Dated(**{f"n{night}": 60370.5 + night for night in range(20)})
        for night in range(20):
            archive.rows |= {f"n{night}": released(f"n{night}", 60370.5 + night)}
            nights(stage, archive, 1, first=night)
        assert len(archive.counted) == 4


def test_a_withdrawn_row_is_marked_with_its_products_and_comes_back(stage: Stage) -> None:
    archive = Dated(a=58000.5, b=58000.7, new=60360.0)
    nights(stage, archive, 1)
    listed = listing(stage.settings, archive.rows["a"], START)
    stage.catalog.upsert({"product": [fetched("a", proposal="hst:a")], "listing": [listed]})
    item = archive.rows.pop("a")
    nights(stage, archive, 5, first=1)
    assert names(stage) == ["b", "new"]
    (row,) = stage.catalog.rows("SELECT superseded_at IS NOT NULL AS is_superseded, sha256 FROM product")
    assert row == {"is_superseded": True, "sha256": "a" * 64}
    assert stage.catalog.counts()["listing"] == 0
    archive.rows["a"] = item
    nights(stage, archive, 5, first=6)
    assert names(stage) == ["a", "b", "new"]


def test_rows_of_other_settings_are_not_taken_for_withdrawn(tmp_path: Path) -> None:
    with stage_at(tmp_path, OFTEN) as stage:
        nights(stage, Dated(acs=58000.5, wfc3=58000.6), 1)
    narrow = {"archive": OFTEN["archive"] | {"instruments": ["WFC3*"]}}
    with stage_at(tmp_path, narrow) as stage:
        nights(stage, Dated(wfc3=58000.6), 7)
        assert names(stage) == ["acs", "wfc3"]


def test_a_moved_release_date_is_no_withdrawal(stage: Stage) -> None:
    archive = Dated(a=58000.5, new=60360.0)
    nights(stage, archive, 1)
    archive.rows["a"] = released("a", 58900.5)
    nights(stage, archive, 5, first=1)
    assert names(stage) == ["a", "new"]


def test_a_year_that_fails_is_counted_again_in_the_next_night(stage: Stage) -> None:
    archive = Dated(a=58000.5, new=60360.0)
    nights(stage, archive, 1)
    archive.rows["late"] = released("late", 58000.6)
    archive.is_failing = True
    nights(stage, archive, 5, first=1)
    assert names(stage) == ["a", "new"]
    archive.is_failing = False
    nights(stage, archive, 1, first=6)
    assert names(stage) == ["a", "late", "new"]


def test_days_that_are_forgotten_are_queried_together_with_the_year_that_is_due(tmp_path: Path) -> None:
    with stage_at(tmp_path, {"archive": {"relist_days": 1, "since": "2017-01-01"}}) as stage:
        archive = Dated(a=58000.5, b=58020.5, new=60360.0)
        nights(stage, archive, 1)
        stage.catalog.run("forget_days", ids=["a", "b"])
        nights(stage, archive, 1, first=1)
        year = day_of(date(2017, 1, 1)), day_of(date(2018, 1, 1))
        assert [days for days in archive.asked if days[1]] == [(year[0], Days(*year).last_mjd)]


def test_of_a_year_that_is_not_due_the_forgotten_days_alone_are_counted_and_queried(stage: Stage) -> None:
    archive = Dated(a=58000.5, b=58020.5, new=60360.0)
    nights(stage, archive, 6)
    archive.counted.clear()
    stage.catalog.run("forget_days", ids=["b"])
    nights(stage, archive, 1, first=6)
    assert Days(58020, 58021) in archive.counted
    assert [days for days in archive.asked if days[1]] == [(58020, Days(58020, 58021).last_mjd)]


def test_one_changed_day_is_found_by_few_counts() -> None:
    ours = dict.fromkeys(range(*YEAR_2020), 100)
    counted: list[Days] = []

    def count(span: Days) -> int:
        counted.append(span)
        return 100 * (span.end - span.first) + (YEAR_2020.first + 100 in range(*span))

    (found,) = changed_parts(YEAR_2020, count(YEAR_2020), ours, count, 5000)
    assert YEAR_2020.first + 100 in range(*found)
    assert len(counted) == 1 + 3


rows_by_day = st.dictionaries(st.integers(YEAR_2020.first, YEAR_2020.end - 1), st.integers(1, 30), max_size=40)


@given(rows_by_day, rows_by_day, st.integers(1, 300))
def test_what_differs_is_found_and_nothing_else_is_queried(
    ours: dict[int, int], theirs: dict[int, int], most: int
) -> None:
    def count(span: Days) -> int:
        return sum(theirs.get(day, 0) for day in range(*span))

    found = list(changed_parts(YEAR_2020, count(YEAR_2020), ours, count, most))
    days = {day for span in found for day in range(*span)}
    assert all(count(span) != sum(ours.get(day, 0) for day in range(*span)) for span in found)
    assert all(count(span) <= most or span.end - span.first == 1 for span in found)
    if count(YEAR_2020) != sum(ours.values()):
        assert days & {day for day in {*ours, *theirs} if ours.get(day, 0) != theirs.get(day, 0)}
