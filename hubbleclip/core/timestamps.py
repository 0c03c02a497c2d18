"""Give successive events increasing times, even if the clock of a machine was once ahead."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta

log = logging.getLogger(__name__)


def next_time(newest: datetime | None, kind: str, step: timedelta = timedelta(microseconds=1)) -> datetime:
    """Return the current time in UTC, or the time `step` after the newest event if that event is not in the past."""
    now = datetime.now(UTC)
    newest = newest and newest.replace(tzinfo=UTC)
    if newest is None or newest < now:
        return now
    log.warning(
        "the newest %s is dated %s, which is in the future: check the clock of this machine; the next one is "
        "dated just after it, so that it is the newest",
        kind,
        f"{newest:%Y-%m-%d %H:%M} UTC",
    )
    return newest + step
