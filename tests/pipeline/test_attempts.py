"""A failed item waits, each time longer, and is given up at last; contents of a product are numbered as they follow."""

from dataclasses import replace
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st
from stages import NOW, rejection

from hubbleclip.config.settings import FetchSettings
from hubbleclip.core.records import Attempt, Rejection
from hubbleclip.pipeline.engine.attempts import MAX_RUNS, schedule_retry

FAILURE = rejection("product", "p", "fetch")


def failures(num: int, fetch: FetchSettings) -> list[Attempt | Rejection]:
    outcomes: list[Attempt | Rejection] = []
    for day in range(num):
        before = outcomes[-1] if outcomes else None
        assert not isinstance(before, Rejection)
        failure = replace(FAILURE, reason=f"reason {day}")
        outcomes.append(schedule_retry(failure, before, fetch, NOW + timedelta(days=day)))
    return outcomes


def test_the_wait_doubles_with_each_failure_until_the_item_is_given_up() -> None:
    *waiting, last = failures(MAX_RUNS, FetchSettings(retry_hours=6))
    assert [(o.next_try_at - o.last_at) / timedelta(hours=1) for o in waiting] == [6, 12, 24, 48, 96, 192, 384]
    assert last == replace(FAILURE, reason="reason 7")
    third = {"attempts": 3, "error": "reason 2", "detail": "why", "first_at": NOW, "last_at": NOW + timedelta(days=2)}
    named = {"entity": "product", "entity_id": "p", "stage": "fetch"}
    assert waiting[2] == Attempt(**named, **third, next_try_at=NOW + timedelta(days=3))


@given(attempts=st.integers(1, MAX_RUNS - 2), retry_hours=st.floats(0, 1e6))
def test_the_wait_never_exceeds_a_month(attempts: int, retry_hours: float) -> None:
    (first,) = failures(1, FetchSettings())
    assert isinstance(first, Attempt)
    fetch = FetchSettings(retry_hours=retry_hours)
    outcome = schedule_retry(FAILURE, replace(first, attempts=attempts), fetch, NOW)
    assert isinstance(outcome, Attempt)
    assert NOW <= outcome.next_try_at <= NOW + timedelta(days=30)
