"""How a stage is executed under Prefect: its batches are tasks, its parts are flows, its progress is an artifact."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from prefect import Flow, Task
from prefect.artifacts import create_table_artifact
from prefect.futures import PrefectFuture, as_completed
from prefect.utilities.annotations import quote
from prefect.utilities.callables import get_call_parameters

from flows.artifacts import progress_artifact
from flows.runners import open_task_runner
from flows.scheduled import is_scheduled
from hubbleclip.pipeline.engine.runners import RUNNERS

if TYPE_CHECKING:
    from prefect.task_runners import TaskRunner

    from hubbleclip.config.settings import FlowSettings, Settings
    from hubbleclip.pipeline.engine.execution import ShowProgress, StageFn
    from hubbleclip.pipeline.engine.stage import Stage

Result = TypeVar("Result")
RETRIED = ("ingest",)
"""Stages that ask the network: a scheduled run tries them again."""


@dataclass(frozen=True, slots=True)
class TaskWorkers:
    """Workers of a Prefect task runner."""

    runner: TaskRunner[Any]
    is_separate: bool

    def submit(self, name: str, work: Callable[..., Any], *args: Any) -> PrefectFuture[Any]:
        """Submit a task run.

        `quote` keeps Prefect from searching thousands of records for futures; a process or cluster gets the plain
        values, since Dask would take a quoted one for a tuple.
        """
        task = Task(work, name=name, persist_result=False)
        values = args if self.is_separate else tuple(map(quote, args))
        return self.runner.submit(task, get_call_parameters(work, values, {}))

    def first_done(self, pending: Collection[PrefectFuture[Any]]) -> PrefectFuture[Any]:
        """Wait until one of `pending` has ended, and return it."""
        done: PrefectFuture[Any] = next(as_completed(list(pending)))
        return done


class PrefectExecution:
    """See `hubbleclip.pipeline.engine.execution.Execution`."""

    @contextmanager
    def open_workers(self, stage: Stage, runner: str, num: int) -> Iterator[TaskWorkers]:
        """Open the task runner that `flows.runner` names."""
        with open_task_runner(stage, runner, num) as opened:
            yield TaskWorkers(opened, RUNNERS[runner].is_separate)

    def call(self, name: str, work: Callable[..., Result], *args: Any, **named: Any) -> Result:
        """Run one step as a task run in this process."""
        task: Task[..., Result] = Task(work, name=name, persist_result=False)
        result: Result = task(*map(quote, args), **named)
        return result

    def run_stage(self, name: str, run: StageFn[Result], settings: Settings, label: str | None = None) -> Result:
        """Run a stage as a flow below the present one; a scheduled run retries it where it asks the network."""
        retries: dict[str, Any] = {}
        if name in RETRIED and is_scheduled():
            retries = {
                "retries": settings.flows.archive_retries,
                "retry_delay_seconds": settings.flows.archive_retry_s,
            }
        flow: Flow[..., Result] = Flow(run, name=name, flow_run_name=label, validate_parameters=False, **retries)
        return flow(settings, self)

    def show_progress(self, name: str) -> ShowProgress:
        """A progress artifact on the page of the flow run."""
        return progress_artifact(name)

    def show_table(self, key: str, rows: Sequence[Mapping[str, Any]], description: str) -> None:
        """A table artifact on the page of the flow run."""
        create_table_artifact([dict(row) for row in rows], key=key, description=description)

    def lock_wait_s(self, settings: FlowSettings) -> float:
        """Scheduled runs wait for another writer of the catalog; a command reports at once who writes."""
        return settings.lock_wait_s if is_scheduled() else 0.0


PREFECT = PrefectExecution()
