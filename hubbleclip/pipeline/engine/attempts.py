"""Turn the failure of one item into a Rejection, so that the run continues with the other items.

Later runs retry some of the failed items.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

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
from hubbleclip.pipeline.engine.stage import Stage

log = logging.getLogger("hubbleclip.pipeline")
Result = TypeVar("Result")
Batch = dict[str, list[Any]]
"""Rows of each table, by table name; the key `failure` holds Rejections of items that a later run retries."""
MAX_DETAIL = 500
MAX_RUNS = 8
"""Number of runs that try a failed item before it is rejected permanently."""
UNANSWERED = "unanswered"
"""Reason of a failure that says nothing about the item, which is therefore tried without end."""
LONGEST_WAIT_HOURS = 30 * 24.0
MAX_DOUBLINGS = 60  # keeps the power of 2 within the range of a float; the wait reaches its maximum earlier


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One kind of work of a stage, and what is recorded when one of its items is rejected."""

    name: str
    """Name in the log and beside the progress bar, such as `cut-products`."""
    stage: str
    entity: str
    """Kind of the items, such as `product`."""
    digest: str
    """Digest of the settings on which the work depends."""
    key: str = ""
    """Name of the attribute that holds an item's id, under which a failed item is rejected. If the name is empty, every
    error stops the stage.
    """
    is_retried: bool = False
    """Whether a later run retries failed items."""
    final_reasons: frozenset[str] = frozenset()
    """Reasons for which a failed item is not retried."""
    connections: int = 0
    """Maximum number of items that all workers together process at a time; 0 means one per worker."""
    is_local: bool = False
    """Whether threads of this process do the work with every runner, because the work only sends requests."""


def attempt(step: Step, entity_id: str, work: Callable[[], Result]) -> Result | Rejection:
    """Call `work`, and return a Rejection if `work` fails."""
    try:
        return work()
    except Exception as error:
        return rejection_of(step, entity_id, error)


def reject_item(step: Step, item: Any, error: BaseException) -> Batch:
    """Convert an item's error to a row that records the failure; raise an error that the item did not cause."""
    if not step.key or not isinstance(error, Exception):
        raise error
    row = rejection_of(step, getattr(item, step.key), error)
    is_retried = step.is_retried and row.reason not in step.final_reasons
    return {"failure" if is_retried else "rejection": [row]}


def rejection_of(step: Step, entity_id: str, error: Exception) -> Rejection:
    """Convert an error to a Rejection; raise the error if the machine, the settings or the whole archive caused it."""
    if isinstance(error, ArchiveDownError | DiskFullError | SettingsError):
        raise error
    if isinstance(error, OSError) and error.errno in DISK_FULL_ERRNOS:
        raise DiskFullError(f"the disk cannot be written ({error.strerror}): make room or set --data") from error
    if isinstance(error, OSError) and error.errno in EXHAUSTED_ERRNOS:
        advice = "lower flows.workers, or raise the limit (`ulimit -a` lists the limits)"
        raise HubbleclipError(f"a limit of the system is reached ({error.strerror}): {advice}") from error
    if isinstance(error, ItemError):
        reason, detail = error.reason, error.detail
    elif isinstance(error, HubbleclipError):
        reason, detail = type(error).__name__.removesuffix("Error").lower(), str(error)
    else:
        log.error("%s %s: unexpected failure in %s", step.entity, entity_id, step.stage, exc_info=error)
        reason, detail = "unexpected", f"{type(error).__name__}: {error}"
    return Rejection(
        entity=step.entity,
        entity_id=entity_id,
        stage=step.stage,
        reason=reason,
        detail=detail[:MAX_DETAIL],
        settings_digest=step.digest,
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
    if attempts >= MAX_RUNS and failure.reason != UNANSWERED:
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
