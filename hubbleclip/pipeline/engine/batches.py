"""Send batches to workers, check what they return, and write each batch in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence, Sized
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, TypeVar

from hubbleclip.core.errors import HubbleclipError
from hubbleclip.core.records import Rejection
from hubbleclip.pipeline.engine.boundaries import checked
from hubbleclip.pipeline.engine.connections import STOPPED, Batch, Connections
from hubbleclip.pipeline.engine.execution import Pending, Workers
from hubbleclip.pipeline.engine.progress import Progress
from hubbleclip.pipeline.engine.runners import runner_of
from hubbleclip.pipeline.engine.stage import Stage

Item = TypeVar("Item")


def batches(items: Sequence[Item], size: int) -> list[Sequence[Item]]:
    """Slices of `items` of at most `size` each.

    Parameters
    ----------
    items
        Any sequence.
    size
        Items per slice, at least 1.

    Returns
    -------
    list of sequence
        The slices, in order.

    """
    return [items[i : i + size] for i in range(0, len(items), size)]


def write_rows(stage: Stage, batch: Batch) -> None:
    """Write a batch whose keys are tables.

    Parameters
    ----------
    stage
        The stage with the open catalog.
    batch
        Rows by table.

    """
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
    in_process: bool = False,
) -> None:
    """Call `work(batch, *args)` for each batch, and write its rows as soon as they are there.

    A few more batches than workers are under way, so memory is bounded and the writer never waits for the last one.
    An error in a batch is raised after those under way have ended and are written.

    Parameters
    ----------
    stage
        The stage with the open catalog.
    name
        The kind of work, a key of `boundaries.EDGES`.
    work
        A function of a module, since it may run in another process.
    items
        Batches of items.
    *args
        Further arguments of `work`.
    total
        Number of items in all batches.
    write
        Writes the checked rows of one batch.
    connections
        Shared by all batches that fetch; one more batch than connections is under way, so that none is idle.
    in_process
        Use threads of this process whatever `flows.runner` is: for work that only waits for answers.

    Raises
    ------
    HubbleclipError
        The first error of a batch; or when more than `flows.max_rejected_share` of the items is rejected.

    """
    if not total:
        return
    title = f"{stage.name}: {name}"
    progress = Progress(name=title, total=total, show=stage.execution.show_progress(title))
    runner = "threads" if in_process else stage.settings.flows.runner
    is_separate = not in_process and runner_of(stage.settings).is_separate
    num_workers = connections.num + 1 if connections and not is_separate else stage.settings.flows.workers
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
    """Batches under way, each with its number of items; they are checked and written in the order of completion."""

    stage: Stage
    progress: Progress
    write: Callable[[Stage, Batch], None]
    name: str
    workers: Workers
    pending: dict[Pending, int] = field(default_factory=dict)
    error: HubbleclipError | None = None

    def write_next(self) -> None:
        """Wait for the next batch to end, and write it; its error is kept for the end."""
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
    """Number of rejections that count against `flows.max_rejected_share`.

    Tiles that show too little do not count, because a product may have more of them than a stage has products. A tile
    that breaks its contract counts.

    Parameters
    ----------
    rejections
        Rejections of one batch.

    Returns
    -------
    int
        How many of them count.

    """
    return sum(row.entity != "tile" or row.reason.startswith("contract:") for row in rejections)


def _check_share(stage: Stage, progress: Progress) -> None:
    if progress.rejected / progress.total > stage.settings.flows.max_rejected_share:
        raise HubbleclipError(
            f"{progress.name}: {progress.rejected} of {progress.total} items were rejected, more than "
            'flows.max_rejected_share: see `hubbleclip sql "FROM rejection_count"`'
        )
