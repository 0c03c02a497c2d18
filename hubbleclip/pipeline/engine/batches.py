"""Send items to workers, check the rows that come back, and write them to the catalog batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import replace
from functools import partial
from itertools import chain, islice
from queue import SimpleQueue
from typing import Any, NamedTuple, TypeVar

from hubbleclip.contracts.validation import reject_broken_rows
from hubbleclip.core.errors import HubbleclipError, MachineError, RejectedShareError
from hubbleclip.core.records import Rejection
from hubbleclip.pipeline.engine.attempts import MACHINE, Batch, Step, reject_item, write_with_retries
from hubbleclip.pipeline.engine.progress import Progress
from hubbleclip.pipeline.engine.runners import RUNNERS, fetch_share, open_workers, runner_of
from hubbleclip.pipeline.engine.stage import Stage

SUSPECTS = "SELECT entity_id FROM attempt WHERE entity = ? AND stage = ? AND error = ?"
Finished = list[tuple[Any, Batch]]
"""Finished items, each with its rows by table."""
Item = TypeVar("Item")
Result = TypeVar("Result")


class ChunkResult(NamedTuple):
    """Results of a chunk, as pairs (position in the chunk, result), and the error that stopped the work, if any."""

    numbered: list[tuple[int, Any]]
    error: HubbleclipError | None


def batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Divide items into lists of at most `size` items."""
    left = iter(items)
    while batch := list(islice(left, size)):
        yield batch


def map_unordered(
    stage: Stage, step: Step, work: Callable[[Item], Result], items: Iterable[Item], size: int = 1
) -> Iterator[tuple[Item, Result]]:
    """Call `work` for each item on the workers of a stage, and yield each item and its result in order of completion.

    A thread gets one item at a time. A worker in another process gets a chunk of `size` items at a time. To keep the
    workers busy, about `size` further items are submitted in advance. The result of a failed item is a Batch with the
    record of the failure.
    After an error that stops the stage, no further item is started. The results of items already started are yielded,
    and then the error is raised.
    """
    settings = stage.settings
    runner = RUNNERS["threads"] if step.is_local else runner_of(settings)
    num_workers = settings.flows.workers if runner.is_separate else step.connections or settings.flows.workers
    num_each = min(step.connections or 1, fetch_share(settings).connections)
    left = batches(items, size if runner.is_separate else 1)
    most = num_workers + (1 if runner.is_separate else size)
    pending: dict[Any, list[Item]] = {}
    ended: SimpleQueue[Any] = SimpleQueue()
    stopped: HubbleclipError | None = None
    with open_workers(runner, settings.flows, num_workers) as submit:
        while True:
            while not stopped and len(pending) < most and (chunk := next(left, None)):
                done = submit(work_on, step, work, chunk, num_each) if runner.is_separate else submit(work, *chunk)
                pending[done] = chunk
                done.add_done_callback(ended.put)
            if not pending:
                break
            done = ended.get()
            if (chunk := pending.pop(done, None)) is None:
                continue  # this chunk was cancelled
            found: ChunkResult = done.result() if runner.is_separate else outcomes(step, chunk, {done: 0})
            yield from ((chunk[number], result) for number, result in found.numbered)
            if found.error and not stopped:
                stopped = found.error
                if not runner.is_separate:
                    pending = {one: chunk for one, chunk in pending.items() if not one.cancel()}
    if stopped:
        raise stopped


def map_ordered(
    stage: Stage,
    step: Step,
    work: Callable[[Item], Result],
    items: Sequence[Item],
    weigh: Callable[[Item], int] = lambda item: 1,
) -> Iterator[Result]:
    """Call `work` for each item on the workers of a stage, show the progress, and yield the results in order."""
    if not items:
        return  # no workers are started
    progress = Progress(name=f"{stage.name}: {step.name}", total=sum(map(weigh, items)))
    number_of = {id(item): number for number, item in enumerate(items)}
    waiting: dict[int, Result] = {}  # results that must wait for the result of an earlier item
    num_yielded = 0
    for item, result in map_unordered(stage, step, work, items):
        waiting[number_of[id(item)]] = result
        progress.add(weigh(item), 0)
        while num_yielded in waiting:
            yield waiting.pop(num_yielded)
            num_yielded += 1
    progress.log()


def work_on(step: Step, work: Callable[[Item], Result], items: Sequence[Item], num: int) -> ChunkResult:
    """Call `work` for each item of a chunk in a worker process, with `num` threads."""
    with ThreadPoolExecutor(num) as pool:
        return outcomes(step, items, {pool.submit(work, item): number for number, item in enumerate(items)})


def outcomes(step: Step, items: Sequence[Item], futures: dict[Future[Any], int]) -> ChunkResult:
    """Collect the results of items; after an error that stops the stage, items that have not started are cancelled."""
    numbered, stopped = [], None
    for future in as_completed(futures):
        number = futures[future]
        if future.cancelled():
            continue
        try:
            error = future.exception()
            result = future.result() if error is None else reject_item(step, items[number], error)
        except HubbleclipError as raised:
            stopped = stopped or raised
            for other in futures:
                other.cancel()
        else:
            numbered.append((number, result))
    return ChunkResult(numbered, stopped)


def _write_finished(
    stage: Stage, step: Step, write: Callable[[Stage, Batch], None], progress: Progress, finished: Finished
) -> None:
    """Write the rows of finished items, and delete outdated records of failures.

    The list `finished` is emptied.
    """
    rows: Batch = {}
    for name, some in chain.from_iterable(found.items() for _, found in finished):
        rows.setdefault(name, []).extend(some)
    done = [getattr(item, step.key) for item, found in finished if step.key and not found.get("failure")]
    finished.clear()
    checked = reject_broken_rows(rows, step.stage, step.entity, step.digest)
    rejections, failures = checked.get("rejection", []), checked.get("failure", [])
    with stage.catalog.transaction():
        stage.catalog.run("clear_failures", entity=step.entity, stage=step.stage, ids=done)
        write(stage, checked)
    stage.rejected += len(rejections) + len(failures)
    progress.add(0, num_counted(rejections), len(failures))


def run_batches(
    stage: Stage,
    step: Step,
    work: Callable[[Item], Batch],
    items: Iterable[Item],
    *,
    total: int,
    write: Callable[[Stage, Batch], None] = write_with_retries,
    weigh: Callable[[Item], int] | None = None,
) -> None:
    """Call `work` for each item on a worker, and write the rows in transactions of `flows.batch_size` items.

    If an item is itself a group, such as a list of observations, `weigh` returns the size of the group. Then the rows
    of each group are written in a transaction of their own.
    After an error that stops the stage, the finished items are written before the error is raised.
    """
    if not total:
        return
    size = stage.settings.flows.batch_size
    progress = Progress(name=f"{stage.name}: {step.name}", total=total)
    suspects = stage.catalog.rows(SUSPECTS, [step.entity, step.stage, MACHINE])
    step = replace(step, suspects=frozenset(row["entity_id"] for row in suspects))
    flush = partial(_write_finished, stage, step, write, progress)
    finished: Finished = []
    alone: Finished = []  # items at which the machine failed in an earlier run and again in this run
    stopped: HubbleclipError | None = None
    try:
        for number, (item, rows) in enumerate(map_unordered(stage, step, work, items, 1 if weigh else size), 1):
            is_alone = any(row.reason == MACHINE for row in rows.get("failure", []))
            (alone if is_alone else finished).append((item, rows))
            progress.add(weigh(item) if weigh else 1, 0)
            if weigh or number % size == 0:
                flush(finished)
    except HubbleclipError as error:
        stopped = error
        if isinstance(error, MachineError):  # the machine failed at another item too: items in `alone` are not at fault
            alone = [(None, {"failure": [error.suspect]})] if error.suspect else []
    if finished or alone:
        flush(finished + alone)
    if stopped:
        raise stopped
    progress.log()
    num_failed = progress.rejected + progress.waiting
    if num_failed / progress.total > stage.settings.flows.max_rejected_share:
        raise RejectedShareError(
            f"{progress.name}: {num_failed} of {progress.total} items were rejected, more than "
            'flows.max_rejected_share: see `hubbleclip sql "FROM rejection_count"`'
        )


def num_counted(rejections: Iterable[Rejection]) -> int:
    """Count the rejections that are compared with `flows.max_rejected_share`.

    A tile that was rejected for its content does not count, because the setting limits the share of rejected products,
    and one product can have many rejected tiles. A tile that breaks its data contract counts.
    """
    return sum(row.entity != "tile" or row.reason.startswith("contract:") for row in rejections)
