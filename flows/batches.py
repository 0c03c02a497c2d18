"""What every stage shares: open the catalog, send batches to tasks, write each batch in one transaction, say how far
it is.

Prefect adds order and visibility and nothing else: what is left to do comes from the catalog, the work from the
library.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar

from prefect import Task
from prefect.futures import PrefectFuture, as_completed
from prefect.utilities.annotations import quote
from prefect.utilities.callables import get_call_parameters

from flows.artifacts import progress_artifact
from flows.runners import RUNNERS, runner_of
from flows.scheduled import next_writer
from hubbleclip.catalog.pending import from_rows
from hubbleclip.catalog.retry_schedule import after_failure
from hubbleclip.config.settings import Settings
from hubbleclip.core.errors import (
    FULL_DISK,
    SPENT,
    ArchiveDownError,
    DiskFullError,
    DownloadError,
    HubbleclipError,
    ImageError,
    SettingsError,
)
from hubbleclip.core.process_local import MadeApart
from hubbleclip.core.records import Attempt, Rejection
from hubbleclip.pipeline.boundaries import checked
from hubbleclip.pipeline.remote_store import mirrored_catalog
from hubbleclip.pipeline.stage import Stage as Stage  # noqa: PLC0414 - the stages import it from here
from hubbleclip.pipeline.stage import layout_of

log = logging.getLogger("hubbleclip.flows")

Item = TypeVar("Item")
Result = TypeVar("Result")
Batch = dict[str, list[Any]]
LOG_EVERY_S = 10.0
STOPPED = "stopped"
"""In a batch of another process: the error that ended its connections."""


@dataclass(slots=True, kw_only=True)
class Progress:
    """How far one kind of work is; a line every ten seconds at most."""

    name: str
    total: int
    done: int = 0
    rejected: int = 0
    started: float = field(default_factory=time.monotonic)
    logged: float = field(default_factory=time.monotonic)
    show: Callable[[float, str], None] = lambda percent, text: None

    def add(self, num_done: int, num_rejected: int) -> None:
        """Add to the counts."""
        self.done += num_done
        self.rejected += num_rejected
        if time.monotonic() - self.logged > LOG_EVERY_S:
            self.logged = time.monotonic()
            self.log()

    def log(self) -> None:
        """Say how far it is."""
        rate = self.done / max(time.monotonic() - self.started, 1e-3)
        left_s = (self.total - self.done) / max(rate, 1e-3)
        text = f"{self.done} of {self.total} done, {self.rejected} left out, {rate:.1f}/s, {left_s:.0f} s to go"
        log.info("%s: %s", self.name, text)
        self.show(100 * self.done / self.total, text)


@contextmanager
def open_stage(name: str, settings: Settings) -> Iterator[Stage]:
    """The catalog opened for writing, published at the end; a line at the end says what was done."""
    layout = layout_of(settings)
    with mirrored_catalog(layout), next_writer(layout, settings.flows) as catalog:
        stage = Stage(name=name, settings=settings, layout=layout, catalog=catalog)
        yield stage
    took_s = time.monotonic() - stage.started
    log.info("%s: finished in %.1f s, %d left out", stage.name, took_s, stage.rejected)


def batches(items: Sequence[Item], size: int) -> list[Sequence[Item]]:
    """`items` in runs of at most `size`."""
    return [items[i : i + size] for i in range(0, len(items), size)]


def write_rows(stage: Stage, batch: Batch) -> None:
    """Write a batch whose keys are tables."""
    stage.catalog.upsert(batch)


def write_tried(stage: Stage, batch: Batch, *, entity: str, work: str, done: Sequence[str]) -> None:
    """Write a batch whose `failure`s are tried again in later runs, each with the count of its attempts; what is `done`
    by now, or given up, waits no more. That an answer has not landed is no failure.
    """
    failures: list[Rejection] = batch.pop("failure", [])
    if stage.settings.archive.from_raw:
        failures = []
    sql = "FROM attempt WHERE entity = ? AND stage = ? AND list_contains(?, entity_id)"
    found = stage.catalog.rows(sql, [entity, work, [failure.entity_id for failure in failures]])
    before = {attempt.entity_id: attempt for attempt in from_rows(Attempt, found)}
    now = datetime.now(UTC)
    tried = [after_failure(item, before.get(item.entity_id), stage.settings.fetch, now) for item in failures]
    given_up = [item for item in tried if isinstance(item, Rejection)]
    with stage.catalog.transaction():
        ended = [*done, *(item.entity_id for item in given_up)]
        stage.catalog.run("clear_failures", entity=entity, stage=work, ids=ended)
        waiting = [item for item in tried if isinstance(item, Attempt)]
        stage.catalog.upsert(batch | {"attempt": waiting, "rejection": [*batch.get("rejection", []), *given_up]})


def merged(parts: Iterable[Batch]) -> Batch:
    """Several batches as one."""
    whole: Batch = {}
    for part in parts:
        for name, rows in part.items():
            whole.setdefault(name, []).extend(rows)
    return whole


class Connections(MadeApart):
    """The connections of a stage, shared by all its batches: never more than `num` items are under way.

    An archive that is down and a full disk end them all; what was done before is kept.
    """

    def __init__(self, num: int) -> None:
        self.num = num
        self.error: HubbleclipError | None = None
        self._pool = ThreadPoolExecutor(num)
        self._is_open = True

    def __enter__(self) -> Connections:
        return self

    def __exit__(self, *_: object) -> None:
        self._is_open = False
        self._pool.shutdown(wait=False)

    @property
    def is_open(self) -> bool:
        """Whether more may be begun."""
        return self._is_open and self.error is None

    def map(self, work: Callable[[Item], Batch], items: Sequence[Item]) -> Batch:
        """What `work` gives for each item, as one batch; nothing for those that no connection was left for."""
        return merged([*self._pool.map(partial(self._try, work), items), self._told()])

    def _told(self) -> Batch:
        """Of the error, to a flow that cannot see it."""
        return {STOPPED: [self.error]} if self.is_apart and self.error else {}

    def _try(self, work: Callable[[Item], Batch], item: Item) -> Batch:
        if not self.is_open:
            return {}
        try:
            return work(item)
        except (ArchiveDownError, DiskFullError, SettingsError) as error:
            self.error = error
            return {}


def run_batches(
    stage: Stage,
    task: Task[..., Batch],
    work: Iterable[Sized],
    *args: Any,
    total: int,
    write: Callable[[Stage, Batch], None] = write_rows,
    connections: Connections | None = None,
    here: bool = False,
) -> None:
    """Send each batch of `work`, `total` items in all, to `task(batch, *args)`; write what it returns as soon as it is
    done.

    A few more batches than workers are under way, so memory stays bounded and the writer never waits for the last one.
    Threads that share `connections` are one more than those, since they only wait: while so many batches are
    unfinished, no connection is idle. What only asks for answers stays `here`, in threads of this process, whatever
    `flows.runner` is. An error in a task is raised when those under way have ended and are written. Raises
    HubbleclipError when more than `flows.max_rejected_share` of the items is rejected.
    """
    if not total:
        return
    name = f"{stage.name}: {task.name}"
    lane = _Lane(stage, Progress(name=name, total=total, show=progress_artifact(name)), write, task.name)
    chosen = RUNNERS["threads"] if here else runner_of(stage.settings)
    workers = connections.num + 1 if connections and not chosen.is_apart else stage.settings.flows.workers
    most = workers if connections else workers + 1
    with chosen.open(stage, workers) as runner, connections or nullcontext():
        for batch in work:
            # `quote` keeps Prefect from walking through thousands of records in search of futures; Dask would take it
            # for a tuple.
            told = (batch, *args) if chosen.is_apart else map(quote, (batch, *args))
            lane.under_way[runner.submit(task, get_call_parameters(task.fn, tuple(told), {}))] = len(batch)
            while len(lane.under_way) > most:
                lane.write_next()
            if lane.error or (connections and connections.error):
                break
        while lane.under_way:
            lane.write_next()
    error = (connections and connections.error) or lane.error
    if error:
        raise error
    lane.progress.log()
    _check_share(stage, lane.progress)


@dataclass(slots=True)
class _Lane:
    """Batches under way, each with its number of items; they are checked, then written in the order of their ends."""

    stage: Stage
    progress: Progress
    write: Callable[[Stage, Batch], None]
    made_by: str
    under_way: dict[PrefectFuture[Batch], int] = field(default_factory=dict)
    error: HubbleclipError | None = None

    def write_next(self) -> None:
        """Wait for the next batch to end, and write it; its error is kept for the end."""
        future = next(as_completed(list(self.under_way)))
        num_items = self.under_way.pop(future)
        try:
            made = future.result()
            self.error = next(iter(made.pop(STOPPED, ())), self.error)
            batch = checked(self.stage, made, self.made_by)
        except HubbleclipError as error:
            self.error = self.error or error
            return
        left_out = [*batch.get("rejection", ()), *batch.get("failure", ())]
        self.write(self.stage, batch)
        self.stage.rejected += len(left_out)
        self.progress.add(num_items, num_items_of(left_out))


def num_items_of(left_out: Iterable[Rejection]) -> int:
    """How many count against `flows.max_rejected_share`: all but tiles that show too little, of which a product may
    have more than a stage has products. A tile that breaks its contract counts.
    """
    return sum(row.entity != "tile" or row.reason.startswith("contract:") for row in left_out)


def _check_share(stage: Stage, progress: Progress) -> None:
    if progress.rejected / progress.total > stage.settings.flows.max_rejected_share:
        raise HubbleclipError(
            f"{progress.name}: {progress.rejected} of {progress.total} items were left out, more than "
            'flows.max_rejected_share: see `hubbleclip sql "FROM rejection_count"`'
        )


def attempt(work: Callable[[], Result], *, entity: str, entity_id: str, stage: str, digest: str) -> Result | Rejection:
    """What `work` returns, or a Rejection when it fails, so that one bad item never stops the rest.

    An archive that cannot be reached, a full disk, a system without free files or memory and a wrong setting stop the
    run, since every other item would fail as well.
    """
    try:
        return work()
    except (ArchiveDownError, DiskFullError, SettingsError):
        raise
    except (ImageError, DownloadError) as error:
        reason, detail = error.reason, error.detail
    except HubbleclipError as error:
        reason, detail = type(error).__name__.removesuffix("Error").lower(), str(error)
    except Exception as error:
        if isinstance(error, OSError) and error.errno in FULL_DISK:
            raise DiskFullError(f"the disk cannot be written ({error.strerror}): make room or set --data") from error
        if isinstance(error, OSError) and error.errno in SPENT:
            advice = "lower flows.workers, or raise what `ulimit -a` shows"
            raise HubbleclipError(f"the system gives no more ({error.strerror}): {advice}") from error
        log.exception("%s %s: unexpected failure in %s", entity, entity_id, stage)
        reason, detail = "unexpected", f"{type(error).__name__}: {error}"
    return Rejection(
        entity=entity, entity_id=entity_id, stage=stage, reason=reason, detail=detail[:500],
        settings_digest=digest, rejected_at=datetime.now(UTC),
    )  # fmt: skip
