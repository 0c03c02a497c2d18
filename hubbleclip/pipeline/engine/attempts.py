"""Turn the failure of one item into a Rejection, so that the run continues with the other items.

Later runs retry some of the failed items.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from hubbleclip.catalog.pending import to_records
from hubbleclip.config.settings import FetchSettings
from hubbleclip.core.errors import (
    DISK_FULL_ERRNOS,
    EXHAUSTED_ERRNOS,
    ArchiveDownError,
    DiskFullError,
    HubbleclipError,
    ItemError,
    SettingsError,
)
from hubbleclip.core.records import Attempt, Rejection
from hubbleclip.pipeline.engine.connections import Batch
from hubbleclip.pipeline.engine.stage import Stage

log = logging.getLogger("hubbleclip.pipeline")
Result = TypeVar("Result")
MAX_DETAIL = 500
LONGEST_WAIT_HOURS = 30 * 24.0
MAX_DOUBLINGS = 60  # limits n so that 2**n fits a float; the wait reaches its maximum much earlier


def attempt(work: Callable[[], Result], *, entity: str, entity_id: str, stage: str, digest: str) -> Result | Rejection:
    """Call `work`, and return a Rejection if `work` fails."""
    try:
        return work()
    except (ArchiveDownError, DiskFullError, SettingsError):
        raise
    except ItemError as error:
        reason, detail = error.reason, error.detail
    except HubbleclipError as error:
        reason, detail = type(error).__name__.removesuffix("Error").lower(), str(error)
    except Exception as error:
        if isinstance(error, OSError) and error.errno in DISK_FULL_ERRNOS:
            raise DiskFullError(f"the disk cannot be written ({error.strerror}): make room or set --data") from error
        if isinstance(error, OSError) and error.errno in EXHAUSTED_ERRNOS:
            advice = "lower flows.workers, or raise the limit (`ulimit -a` lists the limits)"
            raise HubbleclipError(f"a limit of the system is reached ({error.strerror}): {advice}") from error
        log.exception("%s %s: unexpected failure in %s", entity, entity_id, stage)
        reason, detail = "unexpected", f"{type(error).__name__}: {error}"
    return Rejection(
        entity=entity,
        entity_id=entity_id,
        stage=stage,
        reason=reason,
        detail=detail[:MAX_DETAIL],
        settings_digest=digest,
        rejected_at=datetime.now(UTC),
    )


def write_with_retries(stage: Stage, batch: Batch, *, entity: str, work: str, done: Sequence[str]) -> None:
    """Write the rows of a batch, and schedule its failed items to be retried by later runs."""
    failures: list[Rejection] = batch.pop("failure", [])
    if stage.settings.archive.from_raw:
        failures = []
    sql = "FROM attempt WHERE entity = ? AND stage = ? AND list_contains(?, entity_id)"
    found = stage.catalog.rows(sql, [entity, work, [failure.entity_id for failure in failures]])
    before = {row.entity_id: row for row in to_records(Attempt, found)}
    now = datetime.now(UTC)
    tried = [schedule_retry(item, before.get(item.entity_id), stage.settings.fetch, now) for item in failures]
    exhausted = [item for item in tried if isinstance(item, Rejection)]
    waiting = [item for item in tried if isinstance(item, Attempt)]
    with stage.catalog.transaction():
        ended = [*done, *(item.entity_id for item in exhausted)]
        stage.catalog.run("clear_failures", entity=entity, stage=work, ids=ended)
        stage.catalog.upsert(batch | {"attempt": waiting, "rejection": [*batch.get("rejection", []), *exhausted]})


def schedule_retry(
    failure: Rejection, before: Attempt | None, fetch: FetchSettings, now: datetime
) -> Attempt | Rejection:
    """Schedule the next attempt at a failed item; the last permitted failure becomes the item's Rejection.

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
