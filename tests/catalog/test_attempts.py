"""A failed item waits, each time longer, and is given up at last."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubbleclip.catalog.retry_schedule import schedule_retry
from hubbleclip.config.settings import FetchSettings
from hubbleclip.core.records import Attempt, Rejection

NOW = datetime(2024, 1, 2, tzinfo=UTC)


def failure(reason: str = "failed") -> Rejection:
    return Rejection(
        entity="product",
        entity_id="p",
        stage="fetch",
        reason=reason,
        detail="why",
        settings_digest="d",
        rejected_at=NOW,
    )


def failures(num: int, fetch: FetchSettings) -> list[Attempt | Rejection]:
    outcomes: list[Attempt | Rejection] = []
    for day in range(num):
        before = outcomes[-1] if outcomes else None
        assert not isinstance(before, Rejection)
        outcomes.append(schedule_retry(failure(f"reason {day}"), before, fetch, NOW + timedelta(days=day)))
    return outcomes


def test_the_wait_doubles_with_each_failure_until_the_item_is_given_up() -> None:
    outcomes = failures(4, FetchSettings(retry_hours=6, max_runs=4))
    waits = [(o.next_try_at - o.last_at) / timedelta(hours=1) for o in outcomes if isinstance(o, Attempt)]
    assert waits == [6, 12, 24]
    assert outcomes[-1] == failure("reason 3")


def test_an_attempt_counts_from_the_first_failure_and_names_the_last() -> None:
    last = failures(3, FetchSettings())[-1]
    assert isinstance(last, Attempt)
    assert (last.attempts, last.error, last.detail) == (3, "reason 2", "why")
    assert (last.first_at, last.last_at) == (NOW, NOW + timedelta(days=2))


def test_one_run_alone_gives_up_at_once() -> None:
    assert schedule_retry(failure(), None, FetchSettings(max_runs=1), NOW) == failure()


@given(attempts=st.integers(1, 10**9), retry_hours=st.floats(0, 1e6))
def test_the_wait_never_exceeds_a_month(attempts: int, retry_hours: float) -> None:
    before = Attempt(
        entity="product",
        entity_id="p",
        stage="fetch",
        attempts=attempts,
        error="failed",
        detail="",
        first_at=NOW,
        last_at=NOW,
        next_try_at=NOW,
    )
    outcome = schedule_retry(failure(), before, FetchSettings(retry_hours=retry_hours, max_runs=10**10), NOW)
    assert isinstance(outcome, Attempt)
    assert NOW <= outcome.next_try_at <= NOW + timedelta(days=30)


@pytest.mark.parametrize("before", [None, "known"])
def test_a_failure_keeps_its_identity(before: str | None) -> None:
    known = failures(1, FetchSettings())[0] if before else None
    assert not isinstance(known, Rejection)
    outcome = schedule_retry(failure(), known, FetchSettings(), NOW)
    assert (outcome.entity, outcome.entity_id, outcome.stage) == ("product", "p", "fetch")
