"""Send batches to workers, check the rows that the workers return, and write each batch in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence, Sized
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, TypeVar

from hubbleclip.core.errors import HubbleclipError, RejectedShareError
from hubbleclip.core.records import Rejection
from hubbleclip.pipeline.engine.boundaries import checked
from hubbleclip.pipeline.engine.connections import STOPPED, Batch, Connections
from hubbleclip.pipeline.engine.execution import Workers
from hubbleclip.pipeline.engine.progress import Progress
from hubbleclip.pipeline.engine.runners import runner_of
from hubbleclip.pipeline.engine.stage import Stage

Item = TypeVar("Item")


def batches(items: Sequence[Item], size: int) -> list[Sequence[Item]]:
    """Divide items into slices of at most `size` items."""
    return [items[i : i + size] for i in range(0, len(items), size)]


def write_rows(stage: Stage, batch: Batch) -> None:
    """Write the rows of a batch to the catalog."""
    stage.catalog.upsert(batch)


def run_batches(
    stage: Stage,
    name: str,
    work: Callable[..., Batch],
    items: Iterable[Sized],
    *args: Any,
    total: int,
    write: Callable[[Stage, Batch], None] = write_rows,
    connections: Connections | None = None,
    num_requests: int = 0,
) -> None:
    """Call `work(batch, *args)` for each batch on a worker, and write the rows of a batch as soon as it ends.

    Only a few more batches than workers are submitted at a time, which limits the memory and keeps every worker busy.
    After an error in a batch no further batch is submitted. The error is raised after the submitted batches have ended
    and have been written.
    """
    if not total:
        return
    title = f"{stage.name}: {name}"
    progress = Progress(name=title, total=total, show=stage.execution.show_progress(title))
    runner = "threads" if num_requests else stage.settings.flows.runner
    num_workers = num_requests or stage.settings.flows.workers
    if connections and not runner_of(stage.settings).is_separate:
        num_workers = connections.num + 1
    max_pending = num_workers if connections else num_workers + 1
    with stage.execution.open_workers(stage, runner, num_workers) as workers, connections or nullcontext():
        queue = _Queue(stage, progress, write, name, workers)
        for batch in items:
            queue.pending[workers.submit(name, work, batch, *args)] = len(batch)
            while len(queue.pending) > max_pending:
                queue.write_next()
            if queue.error or (connections and connections.error):
                break
        while queue.pending:
            queue.write_next()
    error = (connections and connections.error) or queue.error
    if error:
        raise error
    progress.log()
    _check_share(stage, progress)


@dataclass(slots=True)
class _Queue:
    """Submitted batches, each with its number of items. They are checked and written in the order in which they end."""

    stage: Stage
    progress: Progress
    write: Callable[[Stage, Batch], None]
    name: str
    workers: Workers
    pending: dict[Any, int] = field(default_factory=dict)
    error: HubbleclipError | None = None

    def write_next(self) -> None:
        """Wait until a batch has ended and write it; an error of the batch is stored in `error` and raised later."""
        first = self.workers.first_done(self.pending.keys())
        num_items = self.pending.pop(first)
        try:
            made = first.result()
            self.error = next(iter(made.pop(STOPPED, ())), self.error)
            batch = checked(self.stage, made, self.name)
        except HubbleclipError as error:
            self.error = self.error or error
            return
        rejections = [*batch.get("rejection", ()), *batch.get("failure", ())]
        self.write(self.stage, batch)
        self.stage.rejected += len(rejections)
        self.progress.add(num_items, num_counted(rejections))


def num_counted(rejections: Iterable[Rejection]) -> int:
    """Count the rejections that are compared with `flows.max_rejected_share`.

    Tiles that were rejected for their content do not count, because the limit is a share of the products, and one
    product can have many rejected tiles. A tile that breaks its data contract counts.
    """
    return sum(row.entity != "tile" or row.reason.startswith("contract:") for row in rejections)


def _check_share(stage: Stage, progress: Progress) -> None:
    if progress.rejected / progress.total > stage.settings.flows.max_rejected_share:
        raise RejectedShareError(
            f"{progress.name}: {progress.rejected} of {progress.total} items were rejected, more than "
            'flows.max_rejected_share: see `hubbleclip sql "FROM rejection_count"`'
        )
