"""Make increasing timestamps of events, even if a wrong clock dated an earlier event in the future."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta

log = logging.getLogger(__name__)


def next_time(newest: datetime | None, kind: str, step: timedelta = timedelta(microseconds=1)) -> datetime:
    """Return the current time in UTC; if `newest` is not earlier, return `newest` plus `step` instead."""
    now = datetime.now(UTC)
    newest = newest and newest.replace(tzinfo=UTC)
    if newest is None or newest < now:
        return now
    log.warning(
        "the newest %s is dated %s, which is in the future: check the clock of this machine; the new one "
        "gets a still later date, so that it is the newest",
        kind,
        f"{newest:%Y-%m-%d %H:%M} UTC",
    )
    return newest + step
