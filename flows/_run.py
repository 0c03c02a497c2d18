"""What every stage shares: open the catalog, send batches to tasks, write each batch in one transaction, say how far
it is.

Prefect adds order and visibility and nothing else: what is left to do comes from the catalog, the work from the
library.
"""

from __future__ import annotations

import errno
import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

from prefect import Task
from prefect.futures import PrefectFuture
from prefect.task_runners import ThreadPoolTaskRunner
from prefect.utilities.annotations import quote
from prefect.utilities.callables import get_call_parameters

from hubbleclip.catalog import Catalog, writing_catalog
from hubbleclip.errors import ArchiveDownError, DiskFullError, DownloadError, HubbleclipError, ImageError
from hubbleclip.paths import Layout
from hubbleclip.records import Record, Rejection
from hubbleclip.settings import Settings

log = logging.getLogger("hubbleclip.flows")

Item = TypeVar("Item")
Result = TypeVar("Result")
Batch = dict[str, list[Any]]
LOG_EVERY_S = 10.0
FULL_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}


@dataclass(slots=True, kw_only=True)
class Stage:
    """One stage of a run: its settings, its place on disk, the open catalog, and how far it is."""

    name: str
    settings: Settings
    layout: Layout
    catalog: Catalog
    rejected: int = 0
    started: float = field(default_factory=time.monotonic)


@dataclass(slots=True, kw_only=True)
class Progress:
    """How far one kind of work is; a line every ten seconds at most."""

    name: str
    total: int
    done: int = 0
    rejected: int = 0
    started: float = field(default_factory=time.monotonic)
    logged: float = field(default_factory=time.monotonic)

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
        log.info("%s: %d of %d done, %d left out, %.1f/s", self.name, self.done, self.total, self.rejected, rate)


@contextmanager
def open_stage(name: str, settings: Settings) -> Iterator[Stage]:
    """The catalog opened for writing, published at the end; a line at the end says what was done."""
    layout = Layout(settings.root)
    with writing_catalog(layout) as catalog:
        stage = Stage(name=name, settings=settings, layout=layout, catalog=catalog)
        yield stage
    took_s = time.monotonic() - stage.started
    log.info("%s: finished in %.1f s, %d left out", stage.name, took_s, stage.rejected)


def batches(items: Sequence[Item], size: int) -> list[Sequence[Item]]:
    """`items` in runs of at most `size`."""
    return [items[i : i + size] for i in range(0, len(items), size)]


def run_batches(stage: Stage, task: Task[..., Batch], work: Sequence[Sequence[Any]], *args: Any) -> None:
    """Send each batch of `work` to `task(batch, *args)`; write what it returns as soon as it and those before it are
    done.

    A few more batches than workers are under way, so memory stays bounded and the writer never waits for the last one.
    Raises HubbleclipError when more than `flows.max_rejected_share` of the items is rejected.
    """
    progress = Progress(name=f"{stage.name}: {task.name}", total=sum(len(batch) for batch in work))
    under_way: deque[tuple[int, PrefectFuture[Batch]]] = deque()
    workers = stage.settings.flows.workers
    with ThreadPoolTaskRunner[Batch](max_workers=workers) as runner:
        for batch in work:
            # `quote` keeps Prefect from walking through thousands of records in search of futures.
            parameters = get_call_parameters(task.fn, tuple(quote(arg) for arg in (batch, *args)), {})
            under_way.append((len(batch), runner.submit(task, parameters)))
            if len(under_way) > workers + 1:
                _write(stage, progress, *under_way.popleft())
        while under_way:
            _write(stage, progress, *under_way.popleft())
    if progress.total:
        progress.log()
        _check_share(stage, progress)


def _write(stage: Stage, progress: Progress, num_items: int, future: PrefectFuture[Batch]) -> None:
    batch = future.result()
    stage.catalog.upsert(batch)
    num_rejected = len(batch.get("rejection", ()))
    stage.rejected += num_rejected
    progress.add(num_items, num_rejected)


def _check_share(stage: Stage, progress: Progress) -> None:
    if progress.rejected / progress.total > stage.settings.flows.max_rejected_share:
        raise HubbleclipError(
            f"{progress.name}: {progress.rejected} of {progress.total} items were left out, more than "
            'flows.max_rejected_share: see `hubbleclip sql "FROM rejection_count"`'
        )


def attempt(work: Callable[[], Result], *, entity: str, entity_id: str, stage: str, digest: str) -> Result | Rejection:
    """What `work` returns, or a Rejection when it fails, so that one bad item never stops the rest.

    An archive that cannot be reached and a full disk stop the run, since every other item would fail as well.
    """
    try:
        return work()
    except (ArchiveDownError, DiskFullError):
        raise
    except (ImageError, DownloadError) as error:
        reason, detail = error.reason, error.detail
    except HubbleclipError as error:
        reason, detail = type(error).__name__.removesuffix("Error").lower(), str(error)
    except Exception as error:
        if isinstance(error, OSError) and error.errno in FULL_DISK:
            raise HubbleclipError(f"the disk cannot be written ({error.strerror}): make room or set --data") from error
        log.exception("%s %s: unexpected failure in %s", entity, entity_id, stage)
        reason, detail = "unexpected", f"{type(error).__name__}: {error}"
    return Rejection(
        entity=entity, entity_id=entity_id, stage=stage, reason=reason, detail=detail[:500],
        settings_digest=digest, rejected_at=datetime.now(UTC),
    )  # fmt: skip


def from_rows(record: Callable[..., Record], rows: Sequence[Mapping[str, Any]]) -> list[Any]:
    """Catalog rows as records."""
    return [record(**row) for row in rows]
