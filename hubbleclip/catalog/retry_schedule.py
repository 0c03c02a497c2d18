"""Schedule retries of failed items by later runs, with exponential backoff and a Rejection after the last retry."""

from __future__ import annotations

from datetime import datetime, timedelta

from hubbleclip.config.settings import FetchSettings
from hubbleclip.core.records import Attempt, Rejection

LONGEST_WAIT_HOURS = 30 * 24.0
MAX_DOUBLINGS = 60  # limits n so that 2**n fits a float; the wait reaches its maximum much earlier


def schedule_retry(
    failure: Rejection, before: Attempt | None, fetch: FetchSettings, now: datetime
) -> Attempt | Rejection:
    """Schedule the next attempt at a failed item.

    The wait is `retry_hours` after the first failure and doubles with each further failure, up to 30 days.
    """
    attempts = (before.attempts if before else 0) + 1
    if attempts >= fetch.max_runs:
        return failure
    wait_hours = min(fetch.retry_hours * 2 ** min(attempts - 1, MAX_DOUBLINGS), LONGEST_WAIT_HOURS)
    return Attempt(
        entity=failure.entity,
        entity_id=failure.entity_id,
        stage=failure.stage,
        attempts=attempts,
        error=failure.reason,
        detail=failure.detail,
        first_at=before.first_at if before else now,
        last_at=now,
        next_try_at=now + timedelta(hours=wait_hours),
    )
