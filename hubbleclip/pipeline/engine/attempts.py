"""Convert the failure of an item into a Rejection record, so that the run continues with the other items.

Depending on the reason, the failure is final, or a later run tries the item again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from hubbleclip.config.settings import Settings
from hubbleclip.core import errors
from hubbleclip.core.id_prefixes import find_registered
from hubbleclip.core.records import Rejection, reject
from hubbleclip.pipeline.engine.stage import Stage, log, open_stage

Result = TypeVar("Result")
Batch = dict[str, list[Any]]
"""Rows of each table, by table name. The key `failure` holds the Rejection records of items to retry."""
MACHINE, UNEXPECTED, UNANSWERED = "machine", "unexpected", "unanswered"
"""Reasons that never make a failure final: fault of the machine, fault of this code, no response from a server."""
OUTSIDE = frozenset({MACHINE, UNEXPECTED, "dataset"})
"""Reasons of failures that the item did not cause; `dataset` means that a remote store cannot be reached."""
RETRIED = (
    *("product/fetch", "product/tiles", "proposal/products", "proposal/proposals"),
    *("visit/colour", "abstract_summary/captions"),
)
"""Pairs of an item kind and a stage (`entity/stage`); `retry` deletes only the rejections of these pairs."""
FAILED = """
SELECT reason, count(*) AS num
FROM (SELECT reason FROM rejection WHERE list_contains(?, entity || '/' || stage) UNION ALL SELECT error FROM attempt)
GROUP BY reason ORDER BY reason
"""
MAX_RUNS = 8
"""Number of failed runs after which an item is rejected permanently."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One kind of work of a stage, such as fetching files, with the rules for recording failures of its items."""

    name: str
    """Name in the log and beside the progress bar, such as `cut-products`."""
    stage: str
    entity: str
    """Kind of the items, such as `product`."""
    digest: str
    """Digest of the settings on which the work depends."""
    key: str = ""
    """Name of the attribute that holds the id of an item, such as `uri`. If empty, every error stops the stage."""
    is_retried: bool = False
    """Whether a later run retries failed items."""
    final_reasons: frozenset[str] = frozenset()
    """Reasons for which a failed item is not retried."""
    connections: int = 0
    """Maximum number of items that all workers together process at a time; 0 means one per worker."""
    is_local: bool = False
    """Whether threads of this process do the work for every `flows.runner`. True for work that only sends requests."""
    suspects: frozenset[str] = frozenset()
    """Ids of items at which the machine failed in an earlier run, e.g. for lack of memory.

    If the machine fails at one of these items again, the failure is recorded and the stage continues. If the machine
    fails at any other item, the stage stops.
    """


def archive_step(settings: Settings, name: str, stage: str, entity: str, **further: Any) -> Step:
    """Make a Step for items that are requested from the archive; `further` sets other fields of the Step."""
    further["connections"] = settings.fetch.connections
    return Step(name=name, stage=stage, entity=entity, digest=settings.archive.digest(), **further)


def attempt(step: Step, entity_id: str, work: Callable[[], Result]) -> Result | Rejection:
    """Call `work` and return its result, or a Rejection if it fails; errors that stop the stage are raised."""
    try:
        return work()
    except Exception as error:
        return rejection_of(step, entity_id, error)


def reject_item(step: Step, item: Any, error: BaseException) -> Batch:
    """Convert an item's error to a row that records the failure. An error that stops the whole stage is raised."""
    if not step.key or not isinstance(error, Exception):
        raise errors.machine_error(error) or error
    entity_id = getattr(item, step.key)
    try:
        row = rejection_of(step, entity_id, error)
    except errors.MachineError as failure:
        row = rejection_of(step, entity_id, errors.ItemError(MACHINE, str(failure)))
        if entity_id not in step.suspects:
            failure.suspect = row
            raise
    is_retried = step.is_retried and row.reason not in step.final_reasons
    return {"failure" if is_retried or row.reason in OUTSIDE else "rejection": [row]}


def rejection_of(step: Step, entity_id: str, error: Exception) -> Rejection:
    """Convert an error to a Rejection; raise the error if the machine, the settings or the whole archive caused it."""
    if isinstance(error, errors.ArchiveDownError | errors.SettingsError):
        raise error
    if failure := errors.machine_error(error):
        raise failure from error
    if isinstance(error, errors.HubbleclipError):
        reason = getattr(error, "reason", "") or type(error).__name__.removesuffix("Error").lower()
        detail = getattr(error, "detail", str(error))
    else:
        log.error("%s %s: unexpected failure in %s", step.entity, entity_id, step.stage, exc_info=error)
        reason, detail = UNEXPECTED, f"{type(error).__name__}: {error}"
    return reject(step.entity, entity_id, step.stage, reason=reason, detail=detail, settings_digest=step.digest)


def write_with_retries(stage: Stage, batch: Batch) -> None:
    """Write a batch's rows, and schedule its failed items for later runs.

    After `MAX_RUNS` failures, an item is rejected, unless the reason of the last failure is in `OUTSIDE` or is
    `UNANSWERED`.
    """
    failures: list[Rejection] = batch.pop("failure", [])
    with stage.catalog.transaction():
        stage.catalog.upsert(batch)
        if failures and not stage.settings.archive.from_raw:
            stage.catalog.run(
                "schedule_retries",
                {"rejection": failures},
                now=datetime.now(UTC),
                retry_hours=stage.settings.fetch.retry_hours,
                max_runs=MAX_RUNS,
                open=[*OUTSIDE, UNANSWERED],
            )


def retry(settings: Settings, reasons: Sequence[str]) -> int:
    """Delete rejections and scheduled retries with the given reasons, and return their number.

    The items are then pending again.
    """
    with open_stage("retry", settings) as stage:
        counts = {row["reason"]: int(row["num"]) for row in stage.catalog.rows(FAILED, [RETRIED])}
        num = sum(find_registered(counts, reason, "reason") for reason in {*reasons})
        stage.catalog.run("take_back", reasons=list(reasons), works=RETRIED)
    return num
